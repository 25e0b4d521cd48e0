"""The kinds of files that the program reads: for each, sound files made from nothing, and the reader's whole way."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from threading import Thread

import cv2
import numpy as np

from pipeline.errors import CheckpointError

ACTION = ("Walking",)


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    prepare  fills an empty folder with sound files and gives those that are to be broken, one at a time
    read     reads (the folder, the broken file in it) as the program does; what it raises is judged by the pool
    """

    prepare: Callable[[Path], Sequence[Path]]
    read: Callable[[Path, Path], None]


# Pictures


def _video_files(folder: Path) -> Sequence[Path]:
    from tests.pipeline.clips import make_clip

    still = _pictures(8)
    return [
        make_clip(folder / "a.mp4", images=still, sound="aac", turn=90),
        make_clip(folder / "b.mov", images=still, faststart=True, pixel_aspect=Fraction(4, 3), sound="aac"),
        make_clip(folder / "c.avi", images=still, codec="mpeg4", sound="libmp3lame"),
        make_clip(folder / "d.webm", images=still, codec="libvpx", sound="libopus", sound_rate=48_000, time_base=MS),
        make_clip(folder / "e.mkv", images=still, codec="ffv1", sound="flac", time_base=MS),
        make_clip(folder / "f.ts", images=still, codec="mpeg2video", sound="mp2"),
        make_clip(folder / "g.mp4", images=still, codec="libx265", options={"x265-params": "log-level=none"}),
    ]


MS = Fraction(1, 25)


def _pictures(count: int) -> list[np.ndarray]:
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    large = cv2.resize(noise, (64, 48))
    return [np.roll(large, step, 1) for step in range(count)]


def _read_video(folder: Path, path: Path) -> None:
    """Two passes, as `posecli video` makes: the frames, then a copy of those with the sound."""
    from pipeline.errors import PoseError
    from pipeline.focal import video_equivalent
    from pipeline.video import VideoWriter, probe, read_frames

    info = probe(path)
    video_equivalent(path)
    with suppress(PoseError):  # cut short
        for _ in read_frames(path):
            pass
    with VideoWriter(folder / "out.mp4", (64, 48), info=info, source=path) as writer:
        for frame in read_frames(path, salvage=True):
            writer.write(cv2.resize(frame.image, (64, 48)), frame)


def _live_files(folder: Path) -> Sequence[Path]:
    """What servers and cameras send."""
    from tests.pipeline.clips import make_clip

    still = _pictures(8)
    return [
        make_clip(folder / "a.ts", images=still, sound="aac"),
        make_clip(folder / "b.flv", images=still, codec="flv"),
        make_clip(folder / "c.mjpeg", images=still, codec="mjpeg", pix_fmt="yuvj420p"),
        make_clip(folder / "d.webm", images=still, codec="libvpx", time_base=MS),
        make_clip(folder / "e.mp4", images=still, faststart=True, turn=90),
    ]


def _read_live(_folder: Path, path: Path) -> None:
    """Through a pipe, as a stream comes: there is no going back in it. Nobody waits for a picture's time."""
    from pipeline import capture

    sleep = capture.time.sleep
    with _poured(path.read_bytes()) as address:
        capture.time.sleep = lambda _seconds: None  # type: ignore[assignment]
        try:
            shapes = {upright.image(frame).shape for upright, frame in capture._stream_pictures(address)}
        finally:
            capture.time.sleep = sleep
    assert len(shapes) <= 1, "pictures of different sizes"


@contextmanager
def _poured(data: bytes) -> Iterator[str]:
    """The address of a pipe into which data are poured until they are all in or nobody reads any more."""
    reader, writer = os.pipe()

    def pour() -> None:
        with suppress(BrokenPipeError), os.fdopen(writer, "wb") as file:
            file.write(data)

    thread = Thread(target=pour, daemon=True)
    thread.start()
    try:
        yield f"pipe:{reader}"
    finally:
        os.close(reader)
        thread.join()


def _photo_files(folder: Path) -> Sequence[Path]:
    noise = _pictures(1)[0]
    rows = {
        "a.jpg": [],
        "b.jpg": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
        "c.png": [],
        "e.webp": [cv2.IMWRITE_WEBP_QUALITY, 60],
        "f.webp": [cv2.IMWRITE_WEBP_QUALITY, 101],  # without loss
        "g.bmp": [],
    }
    for name, options in rows.items():
        cv2.imwrite(str(folder / name), noise, options)
    exif = b"Exif\0\0II*\0" + bytes.fromhex("08000000 0100 6987 0400 01000000 1a000000 00000000")
    exif += bytes.fromhex("0100 05a4 0300 01000000 1c000000 00000000")
    jpeg = (folder / "a.jpg").read_bytes()
    (folder / "h.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:])
    cv2.imwrite(str(folder / "i.png"), noise.astype(np.uint16) * 257)
    return sorted(folder.iterdir())


def _read_image(_folder: Path, path: Path) -> None:
    from pipeline.focal import photo_equivalent
    from pipeline.image import read_image

    photo_equivalent(path)
    read_image(path)


def _read_photo(_folder: Path, path: Path) -> None:
    from hourglass.photofile import photo_size, read_photo

    size = photo_size(path)
    image = read_photo(path)
    assert size in (None, image.shape[1::-1]), "the header and the pixels differ"


# Poses


def _stored_poses(folder: Path) -> Sequence[Path]:
    from pipeline import posestore
    from tests.pipeline.posed import two_people

    return posestore.write(folder / "clip.h5", two_people())


def _read_stored(folder: Path, path: Path) -> None:
    from pipeline import posestore
    from pipeline.export import export

    poses = posestore.read(path)
    for ending in ("h5", "json", "csv"):
        export(folder / f"out.{ending}", poses)


def _mocap_files(folder: Path) -> Sequence[Path]:
    from lifter.posefile import Sequence as Recording
    from lifter.posefile import write_poses
    from tests.pipeline.posed import even, walker

    xyz = (walker(even(20))[..., [0, 2, 1]] * (1, 1, -1)).astype(np.float32)
    write_poses(folder / "poses.h5", [Recording("5", "walk", f"5_{n}", 30.0, xyz, "amc") for n in (1, 2)])
    np.savez(folder / "plain.npz", **{"amc/05/05_01": xyz, "amc/05/05_02": xyz})
    np.savez_compressed(folder / "small.npz", **{"amc/05/05_01": xyz})
    return sorted(folder.iterdir())


def _read_mocap(_folder: Path, path: Path) -> None:
    from lifter.data import pose_directions, read_motions

    pose_directions(read_motions(path))


def _keypoint_files(folder: Path) -> Sequence[Path]:
    random = np.random.default_rng(0)

    def flat(count: int) -> list[float]:
        return np.column_stack([random.uniform(1, 600, (count, 2)), random.uniform(0.1, 1, count)]).ravel().tolist()

    def rows(count: int) -> list[list[float]]:
        return random.uniform(1, 600, (count, 2)).tolist()

    marks = [[{"x": 0.3, "y": 0.4, "z": 0.1, "visibility": 0.9}] * 33]
    mmpose = [
        {"frame_id": t, "instances": [{"keypoints": rows(17), "keypoint_scores": [0.5] * 17, "bbox_score": 0.9}]}
        for t in range(3)
    ]
    files = {
        "coco.json": [{"image_id": f"{t}.jpg", "keypoints": flat(17), "score": 2.1, "idx": 1} for t in range(4)],
        "coco_b.json": {"meta_info": {"keypoint_id2name": {"0": "nose"}}, "instance_info": mmpose},
        "halpe.json": [{"image_id": f"{t}.jpg", "keypoints": flat(26), "score": 2.1, "idx": [1]} for t in range(4)],
        "blazepose.json": [{"timestamp_ms": 40 * t, "pose_landmarks": marks} for t in range(3)],
        "blazepose_b.json": {"frames": {str(t): marks for t in range(3)}},
        "openpose_0_keypoints.json": {"people": [{"person_id": [-1], "pose_keypoints_2d": flat(25)}]},
    }
    return _write_json(folder, files)


def _write_json(folder: Path, files: dict[str, object]) -> Sequence[Path]:
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return [folder / name for name in files]


def _read_keypoints(folder: Path, path: Path) -> None:
    """As `posecli lift` does, up to the lifter."""
    from pipeline.bring import Brought, _read
    from pipeline.run import Wishes

    layout = path.name.partition("_")[0].partition(".")[0]
    if layout == "openpose":
        path = folder / "openpose"
        path.mkdir(exist_ok=True)
        (path / "a_0_keypoints.json").write_bytes((folder / "openpose_0_keypoints.json").read_bytes())
    _read(Brought(path, layout, size=(640, 480), fps=25.0), Wishes())


# Human3.6M


def _martinez_files(folder: Path) -> Sequence[Path]:
    from tests.lifter.h36m_files import write_martinez

    write_martinez(folder, actions=ACTION)
    return [folder / "cameras.h5", *sorted(folder.glob("S1/*/3D_positions/*.h5")), *sorted(folder.glob("S1/*/*.h5"))]


def _videopose_files(folder: Path) -> Sequence[Path]:
    from tests.lifter.h36m_files import write_cameras, write_videopose, write_videopose_2d

    write_cameras(folder / "cameras.h5")
    write_videopose(folder / "data_3d_h36m.npz", actions=ACTION)
    return [folder / "data_3d_h36m.npz", write_videopose_2d(folder / "data_2d_h36m_sh.npz")]


def _official_files(folder: Path) -> Sequence[Path]:
    from lifter.cdf import read_cdf
    from lifter.h36m_cameras import _INNER, _OUTER, CAMERAS
    from tests.lifter.h36m_files import write_cdf, write_official

    write_official(folder, actions=ACTION)
    last = max(folder.glob("S1/*/*/*.cdf"))
    write_cdf(last, read_cdf(last, "Pose")[0], whole=True)
    outer = [_OUTER[name].split()[1:7] * 11 for name in CAMERAS]  # all subjects with the cameras of the first
    numbers = " ".join(str(number) for row in (*outer, *(_INNER[name] for name in CAMERAS)) for number in row)
    (folder / "metadata.xml").write_text(f"<metadata><camera><w0>[{numbers}]</w0></camera></metadata>")
    return [*sorted(folder.glob("S1/*/*/*.cdf")), folder / "metadata.xml"]


def _h36m_reader(points: str) -> Callable[[Path, Path], None]:
    def read(folder: Path, _path: Path) -> None:
        from lifter.h36m import read_h36m

        found = read_h36m(folder, points=points, subjects=("S1",))
        for view in found.views:
            found.in_camera(view)

    return read


# Motion capture as it is recorded


def _rig_names() -> dict[str, str]:
    from lifter.rigs import RIGS

    rig = next(rig for rig in RIGS if rig.name == "biped-spine1")
    return {joint: points[0] for joint, points in rig.points.items()}


def _bvh_files(folder: Path) -> Sequence[Path]:
    chains = [
        "LeftUpLeg LeftLeg LeftFoot", "RightUpLeg RightLeg RightFoot", "Spine Spine1 Neck Head",
        "LeftArm LeftForeArm LeftHand", "RightArm RightForeArm RightHand",
    ]  # fmt: skip
    lines, count = ["HIERARCHY", "ROOT Hips {", "OFFSET 0 0 0", "CHANNELS 6 " + " ".join(_ROOT)], 6
    for chain in chains:
        joints = chain.split()
        for joint in joints:
            lines += [f"JOINT {joint}", "{", "OFFSET 3 -40 1", "CHANNELS 3 Zrotation Xrotation Yrotation"]
        count += 3 * len(joints)
        lines += ["End Site", "{", "OFFSET 0 -10 0", "}", *["}"] * len(joints)]
    row = " ".join(f"{value:.3f}" for value in np.random.default_rng(0).uniform(-20, 20, count))
    lines += ["}", "MOTION", "Frames: 4", "Frame Time: 0.0333333", *[row] * 4]
    (folder / "biped.bvh").write_text("\n".join(lines) + "\n")
    return sorted(folder.glob("*.bvh"))


_ROOT = ("Xposition", "Yposition", "Zposition", "Zrotation", "Xrotation", "Yrotation")


def _acclaim_files(folder: Path) -> Sequence[Path]:
    """A pair whose bones hang on each other as a body's do, all pointing down."""
    chains = [
        "lhipjoint lfemur ltibia", "rhipjoint rfemur rtibia", "upperback thorax upperneck head",
        "lclavicle lhumerus lradius", "rclavicle rhumerus rradius",
    ]  # fmt: skip
    asf = [":version 1.10", ":units", "length 0.45", "angle deg", ":root", "order TX TY TZ RX RY RZ", "axis XYZ"]
    asf += ["position 0 0 0", "orientation 0 0 0", ":bonedata"]
    links, rows = [], ["root 1 2 3 4 5 6"]
    for number, chain in enumerate(chains):
        for parent, bone in pairwise(["root", *chain.split()]):
            links.append(f"{parent} {bone}")
            rows.append(f"{bone} {5 * number} 3")
            asf += ["begin", f"name {bone}", f"direction 0.{number} -0.9 0", "length 7", "axis 0 0 20 XYZ", "dof rx rz"]
            asf += ["limits (-20 20)", "end"]
    asf += [":hierarchy", "begin", *links, "end"]
    amc = ["#!OML:ASF", ":FULLY-SPECIFIED", ":DEGREES"]
    for frame in range(1, 9):
        amc += [str(frame), *rows]
    (folder / "7.asf").write_text("\n".join(asf))
    (folder / "7_01.amc").write_text("\n".join(amc))
    return [folder / "7.asf", folder / "7_01.amc"]


def _read_recording(folder: Path, path: Path) -> None:
    """As `posecli prepare-mocap` does, for this file alone."""
    from lifter.prepare import PrepareConfig, prepare_mocap

    prepare_mocap([path], folder / "out.h5", config=PrepareConfig())


# Labelled photos


def _label_files(folder: Path) -> Sequence[Path]:
    from tests.hourglass.photos import (
        coco_content,
        coco_person,
        matlab_person,
        mpii_entry,
        mpii_joints,
        people,
        write_json,
        write_lsp,
        write_lspet,
        write_mpii_h5,
        write_mpii_mat,
        write_photos,
    )

    write_photos(folder / "images", ["a.jpg", "b.jpg"])
    write_lsp(folder / "lsp", people(3), np.zeros((3, 14), bool))
    write_lspet(folder / "lspet", people(3), np.ones((3, 14), bool))
    joints = {joint: (float(x), float(y), 1) for joint, (x, y, _) in enumerate(mpii_joints())}
    person = matlab_person(joints, x1=10, y1=5, x2=20, y2=15, scale=0.2, objpos={"x": 31.0, "y": 21.0})
    images = [{"name": name, "train": 1, "people": [person, person]} for name in ("a.jpg", "b.jpg")]
    return [
        folder / "lsp" / "joints.mat",
        folder / "lspet" / "joints.mat",
        write_json(folder / "mpii" / "a.json", [mpii_entry(name) for name in ("a.jpg", "b.jpg", "a.jpg")]),
        write_json(
            folder / "coco" / "a.json", coco_content([coco_person(1), coco_person(2)], {1: "a.jpg", 2: "b.jpg"})
        ),
        write_mpii_h5(folder / "mpii" / "b.h5", ["a.jpg", "b.jpg"]),
        write_mpii_mat(folder / "mpii" / "c.mat", images),
        write_mpii_mat(folder / "mpii" / "d.mat", images, do_compression=True),
    ]


def _read_labels(_folder: Path, path: Path) -> None:
    from hourglass.data import read_photos

    kind = path.parent.name
    read_photos(f"{kind}:{path.parent if kind.startswith('lsp') else path}")


# Weights


@cache
def _tiny_detector_config():  # type: ignore[no-untyped-def]
    from hourglass.model import HourglassConfig

    return HourglassConfig(stacks=1, widths=(8, 8), stem_width=4, block="plain", input_size=32)


def _weights_files(folder: Path) -> Sequence[Path]:
    import torch

    from hourglass.codec import Codec
    from hourglass.finder import FinderCodec, save_finder
    from hourglass.model import StackedHourglass
    from hourglass.predict import Pixels, save_detector
    from pipeline.skeleton import LSP14

    torch.manual_seed(0)
    config = replace(_tiny_detector_config(), joints=14)
    save_detector(
        folder / "hourglass.safetensors",
        StackedHourglass(config),
        codec=Codec("height", sigma=1.0),
        skeleton=LSP14,
        provenance={"seed": 1},
    )
    codec = FinderCodec(smallest=8.0, classes=3)
    finder = StackedHourglass(replace(_tiny_detector_config(), joints=codec.classes))
    save_finder(folder / "finder.safetensors", finder, codec=codec, provenance={"seed": 1}, pixels=Pixels())
    names = ("hourglass", "finder", "lifter")
    _tiny_lifter(folder / "lifter.safetensors")
    return [folder / f"{name}.safetensors" for name in names]


def _tiny_lifter(path: Path) -> Path:
    from lifter.train import train_lifter

    train_lifter(_lifter_config(path.parent, out=path))
    for leftover in path.parent.glob("lifter.*"):
        if leftover != path and leftover.is_file():
            leftover.unlink()
    return path


def _lifter_config(folder: Path, *, out: Path):  # type: ignore[no-untyped-def]
    from lifter.augment import Augment
    from lifter.body import adult, pose_of
    from lifter.recipe import TrainLifterConfig
    from tests.lifter.conftest import random_directions

    motions = folder / "motions.npz"
    if not motions.exists():
        poses = {f"amc/{n:02d}_01": pose_of(random_directions(8, seed=n), adult().expand(8, -1)) for n in range(1, 7)}
        np.savez(motions, **{name: pose.numpy().astype(np.float32) for name, pose in poses.items()})
    return TrainLifterConfig(
        model="baseline",
        data=f"mocap:{motions}",
        out=out,
        steps=1,
        batch=8,
        width=8,
        warm_up=1,
        validation_samples=8,
        validate_every=1,
        augment=Augment(bend=0.02),
        precision="float32",
    )


def _read_weights(_folder: Path, path: Path) -> None:
    import torch

    from hourglass.finder import Finder
    from hourglass.predict import Detector
    from lifter.predict import Lifter

    loads = {"hourglass": Detector.load, "finder": Finder.load, "lifter": Lifter.load}
    loads[path.stem](path, torch.device("cpu"))


def _foreign_files(folder: Path) -> Sequence[Path]:
    """Checkpoints of PyTorch in both its formats, of a public layout."""
    import torch

    from tests.hourglass.test_importing import PoseNetwork

    torch.manual_seed(0)
    state = {f"module.{name}": tensor for name, tensor in PoseNetwork(stacks=1).state_dict().items()}
    content = {"epoch": 3, "arch": "hg", "state_dict": state, "best_acc": 0.5}
    torch.save(content, folder / "new.pt")
    torch.save(content, folder / "old.pth", _use_new_zipfile_serialization=False)
    return [folder / "new.pt", folder / "old.pth"]


def _read_foreign(folder: Path, path: Path) -> None:
    from hourglass.importing import import_weights

    import_weights(path, folder / "out.safetensors", layout="pytorch-pose")


def _resume_files(folder: Path) -> Sequence[Path]:
    from lifter.train import train_lifter

    lifting = _lifter_config(folder, out=folder / "lifter.safetensors")
    train_lifter(lifting)
    _detector_state().save(folder / "hourglass.pt")
    return [folder / "hourglass.pt", lifting.resume_file]


@cache
def _detector_state():  # type: ignore[no-untyped-def]
    import torch

    from hourglass.recipe import TrainConfig
    from hourglass.train import new_state

    config = TrainConfig(data=("lsp:nowhere",), out=Path("none.safetensors"), model=_tiny_detector_config(), batch=4)
    return new_state(config, torch.device("cpu"))


def _read_resume(folder: Path, path: Path) -> None:
    from lifter.train import load_resume

    if path.name == "hourglass.pt":
        _detector_state().load(path)
    else:
        load_resume(_lifter_training(folder))


@cache
def _lifter_training(folder: Path):  # type: ignore[no-untyped-def]
    import torch

    from lifter.samples import open_data
    from lifter.train import start

    config = _lifter_config(folder, out=folder / "lifter.safetensors")
    cpu = torch.device("cpu")
    return start(config, open_data(config, cpu), device=cpu)


# Small files of our own and of users


def _note_files(folder: Path) -> Sequence[Path]:
    from pipeline.eval_clips import LIMB_JOINTS

    count = len(LIMB_JOINTS)
    frame = {"uv": [[1.0, 2.0]] * count, "xyz_cam_mm": [[1.0, 2.0, 3000.0]] * count, "inside": [True] * count}
    frame["E"] = np.eye(4).tolist()  # type: ignore[assignment]
    truth = {"joints": list(LIMB_JOINTS), "frames": [frame] * 3, "K": [[500, 0, 32], [0, 500, 24], [0, 0, 1]]}
    _report_of_two_clips(folder)
    return [*_write_json(folder, {"a_gt.json": truth, "map.json": _rig_names()}), folder / "report.json"]


def _report_of_two_clips(folder: Path) -> None:
    from pipeline.batch_report import Entry, Recipe, Report

    options, weights = {"smooth": "light", "export": [".json"]}, {"lifter": {"file": "a", "sha256": "0"}}
    for number in range(2):
        recipe = Recipe(f"/clips/{number}.mp4", 5, 7, options, weights)
        Report.read(folder).put(Entry(recipe, "done", {"posecli": "1"}, frames=3, outputs=("a_gt.json",)))


def _read_report(path: Path) -> None:
    """As a run does that goes on from there: it looks what is finished, and writes all of it again."""
    from pipeline.batch_report import Report

    report = Report.read(path.parent)
    report.put(*(found for entry in report._entries.values() if (found := report.finished(entry.recipe))))
    Report.read(path.parent)


def _read_note(_folder: Path, path: Path) -> None:
    from lifter.rigs import read_rig
    from pipeline.eval_clips import read_truth

    {"a_gt": read_truth, "report": _read_report}.get(path.stem, read_rig)(path)


def _calibration_files(folder: Path) -> Sequence[Path]:
    from tests.pipeline.rig import ring, write_qualisys, write_toml

    return [write_toml(folder / "a.toml", ring()), write_qualisys(folder / "b.xml", ring())]


def _read_calibration(_folder: Path, path: Path) -> None:
    from pipeline.calibration import read_calibration

    read_calibration(path)


def _misbehave(folder: Path, path: Path) -> None:
    """Does what the text in the file says, to see that the pool sees it."""
    match path.read_text():
        case "refused" | "lines" as word:
            raise CheckpointError("a clear line" if word == "refused" else "two\nlines")
        case "error":
            raise RuntimeError("of ours")
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "memory":
            np.ones(10_000_000)
        case "escape":
            (folder.parent.parent / "escaped").write_text("")
        case "child":
            os.system("true")
        case "beside":
            (folder / "new").write_text("")
        case "hang":
            while True:
                pass


KINDS: dict[str, Kind] = {
    "video": Kind(_video_files, _read_video),
    "live": Kind(_live_files, _read_live),
    "image": Kind(_photo_files, _read_image),
    "photo": Kind(_photo_files, _read_photo),
    "stored": Kind(_stored_poses, _read_stored),
    "mocap": Kind(_mocap_files, _read_mocap),
    "keypoints": Kind(_keypoint_files, _read_keypoints),
    "martinez": Kind(_martinez_files, _h36m_reader("sh")),
    "videopose": Kind(_videopose_files, _h36m_reader("sh")),
    "official": Kind(_official_files, _h36m_reader("gt")),
    "bvh": Kind(_bvh_files, _read_recording),
    "acclaim": Kind(_acclaim_files, _read_recording),
    "labels": Kind(_label_files, _read_labels),
    "weights": Kind(_weights_files, _read_weights),
    "foreign": Kind(_foreign_files, _read_foreign),
    "resume": Kind(_resume_files, _read_resume),
    "calibration": Kind(_calibration_files, _read_calibration),
    "notes": Kind(_note_files, _read_note),
}
MISBEHAVING = {"test": Kind(lambda _: (), _misbehave)}
