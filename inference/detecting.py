"""Runs a detector over images or a video and writes what it finds.

Shape legend: H, W height and width of an image in pixels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import supervision as sv
from rich.console import Console
from rich.progress import track

from command_line import option
from errors import UsageError
from inference.drawing import drawn
from inference.found import Found
from inference.pixels import read
from inference.predictor import Predictor
from inference.results import Results, ids_of
from inference.sources import Video


@dataclass
class Options:
    """What the command line of predict.py can set."""

    checkpoint: str = option(help="last.pt or best.pt of a run, or a file of export.py")
    source: str = option(help="image, folder, pattern as 'photos/*.jpg', video, or camera:0")
    out: str = option(help="folder of the results")
    select: str | None = option(None, choices=("topk", "nms"), help="NMS-free or NMS; null: as trained")
    score: float = option(0.3, least=0, most=1, help="detections with a score above it")
    annotations: str | None = option(None, help="COCO-format file that gives images their ids and order")
    draw: bool = option(True, help="whether to write annotated pictures or video")
    batch: int = option(8, least=1, help="images in memory at once")
    device: str = option("auto", help="auto, cpu or cuda; of a checkpoint")
    frames: int | None = option(None, least=1, help="stop after so many frames of a video or camera")


def detect_in_images(
    model: Predictor, files: list[Path], options: Options, results: Results, console: Console
) -> None:
    """Each image that can be read becomes rows and, if asked for, a picture."""
    ids = ids_of(files, Path(options.annotations) if options.annotations else None)
    # COCO's boxes refer to the pixels as stored; photographs are to be seen upright.
    upright = options.annotations is None
    found_of = model.stream(ids, options.score, options.select, options.batch, upright)
    with sv.ImageSink(str(results.folder)) as sink:
        for path, found in zip(ids, _bar(found_of, len(ids), console), strict=True):
            if found.problem is not None:
                results.skip(found.problem)
                console.print(f"left out: {found.problem}", highlight=False, soft_wrap=True)
                continue
            results.add(found, ids[path], str(path))
            if options.draw:
                picture = drawn(read(path, upright), found)
                sink.save_image(picture[..., ::-1], results.picture_name(path))
    if results.images == 0:
        raise UsageError(f"source={options.source}: none of its {len(ids)} images can be read")


def detect_in_video(
    model: Predictor, video: Video, options: Options, results: Results, console: Console
) -> None:
    """Each frame becomes rows, whose image_id is its number from 1, and a frame of the annotated video."""
    waiting: deque[np.ndarray] = deque()

    def frames() -> Iterator[np.ndarray]:
        for frame in islice(video.frames(), options.frames):
            waiting.append(frame)
            yield frame

    total = min(filter(None, (video.info.total_frames, options.frames)), default=None)
    batch = options.batch if video.camera is None else 1  # a camera is watched live
    found_of = model.stream(frames(), options.score, options.select, batch)
    target = str(results.folder / f"{video.name}.mp4")
    if not options.draw:
        for number, found in enumerate(_bar(found_of, total, console), start=1):
            results.add(found, number, video.name)
            waiting.clear()
        return
    with sv.VideoSink(target, video.info) as sink:
        try:
            for number, found in enumerate(_bar(found_of, total, console), start=1):
                results.add(found, number, video.name)
                sink.write_frame(drawn(waiting.popleft(), found)[..., ::-1])
        except KeyboardInterrupt:
            if video.camera is None:
                raise
            # The usual end of a camera's recording: what was seen is written.


def _bar(items: Iterable[Found], total: int | None, console: Console) -> Iterable[Found]:
    """The items, counted by a progress bar on a terminal."""
    return track(items, "detecting", total, console=console, transient=True, disable=not console.is_terminal)
