"""Data that ships with posecli: trained weights, their manifest `models.json`, the model card and a demo clip."""
