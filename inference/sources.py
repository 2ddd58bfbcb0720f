"""What `source=` names: an image, a folder, a pattern, a video or a camera."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

import av
import numpy as np
import supervision as sv

from errors import UsageError

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".avif"}
VIDEOS = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"}
# What PyAV opens as a camera, by sys.platform.
CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}


@dataclass(frozen=True)
class Video:
    """A video file or a camera.

    Attributes:
        name: for file names and messages.
        info: size and frame rate; its number of frames is None where it is unknown.
        camera: the camera's number, or None for a file.
    """

    name: str
    info: sv.VideoInfo
    path: str
    camera: str | None = None

    def frames(self) -> Iterator[np.ndarray]:
        """The frames, RGB."""
        if self.camera is None:
            for frame in sv.get_video_frames_generator(self.path, prefetch=8):
                yield frame[..., ::-1]
            return
        with _camera(self.camera) as container:
            for picture in container.decode(video=0):
                yield picture.to_ndarray(format="rgb24")


def find(source: str) -> list[Path] | Video:
    """The image files of a source in the order of their names, or its video.

    Raises:
        UsageError: if there is nothing of that name, no image among it, or a video without frames.
    """
    if source.startswith("camera:"):
        return _open_camera(source.removeprefix("camera:"))
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGES and file.is_file())
        if not files:
            raise UsageError(f"source={source}: the folder holds no image ({', '.join(sorted(IMAGES))})")
        return files
    if path.is_file():
        return _open_video(path) if path.suffix.lower() in VIDEOS else [path]
    files = sorted(Path(name) for name in glob(source, recursive=True) if Path(name).is_file())
    if not files:
        raise UsageError(f"source={source}: no such image, folder, pattern or video")
    return files


def _open_video(path: Path) -> Video:
    try:
        frame = next(sv.get_video_frames_generator(str(path)))
        info = sv.VideoInfo.from_video_path(str(path))
    except Exception as error:  # PyAV raises many kinds on broken files
        raise UsageError(f"source={path}: a video without frames, or not a readable video") from error
    info.height, info.width = frame.shape[:2]
    info.total_frames = info.total_frames if info.total_frames and info.total_frames > 0 else None
    return Video(path.stem, info, str(path))


def _open_camera(number: str) -> Video:
    with _camera(number) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or 30)
        info = sv.VideoInfo(stream.codec_context.width, stream.codec_context.height, rate)
    return Video(f"camera{number}", info, "", number)


def _camera(number: str) -> Any:
    if sys.platform not in CAMERAS:
        raise UsageError(f"source=camera:{number}: cameras are read on Linux and macOS only")
    kind, name = CAMERAS[sys.platform]
    try:
        return av.open(name.format(number), format=kind)
    except (av.FFmpegError, ValueError, OSError) as error:
        raise UsageError(f"source=camera:{number}: no such camera ({error})") from error
