"""Vision: pictures and a video that nobody has seen, each shown once.

The video is shown once as well, with all of its questions in one message.
"""

import base64
from collections.abc import Mapping, Sequence

from recipes.formats.sanity import Answer, Vision
from recipes.steps.sanity import drawing
from recipes.steps.sanity.asking import Asking, Body
from recipes.steps.sanity.saying import says

PICTURES, VIDEO = "pictures", "video"


def vision(asking: Asking, wanted: Vision) -> list[Answer]:
    """Show everything; right is a reply that says the answer and no other of its kind."""
    seed = asking.wanted.sanity.seed
    shown = drawing.pictures(seed, wanted.images)
    video = drawing.video(seed, wanted.frames)
    turns = asking.all([picture_body(picture) for picture in shown])
    answers = [
        Answer(
            task=PICTURES,
            id=picture.asked.id,
            right=says(turn.content, picture.asked.answer, picture.asked.others),
            said=turn.content,
        )
        for picture, turn in zip(shown, turns, strict=True)
    ]
    reply = asking.ask(video_body(video)).content
    return answers + [
        Answer(task=VIDEO, id=asked.id, right=says(reply, asked.answer, asked.others), said=reply)
        for asked in video.asked
    ]


def picture_body(picture: drawing.Picture) -> Body:
    """Return the message that shows a picture and asks."""
    link = f"data:image/png;base64,{_base64(picture.png)}"
    return _message({"type": "image_url", "image_url": {"url": link}}, [picture.asked.text])


def video_body(video: drawing.Video) -> Body:
    """Return the message that shows a video and asks; vLLM takes one as a row of JPEG frames."""
    link = f"data:video/jpeg;base64,{','.join(_base64(frame) for frame in video.frames)}"
    return _message({"type": "video_url", "video_url": {"url": link}}, [asked.text for asked in video.asked])


def _message(shown: Mapping[str, object], asked: Sequence[str]) -> Body:
    return {"messages": [{"role": "user", "content": [shown, {"type": "text", "text": " ".join(asked)}]}]}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
