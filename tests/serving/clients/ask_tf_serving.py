"""tf-serving, a client for models that read pictures: always `serving_default`, answers `preds` and `logprobs`."""

import asyncio
import sys

from tf.serving import encode64, multipredict, predict


async def main(url: str) -> None:
    host, port = url.rsplit(":", 1)
    where = {"host": host, "port": int(port), "endpoint": "/v1/models/headlines:predict"}
    pictures = [encode64(picture) for picture in (b"\xff\xfe one", b"two", b"three")]
    answer = await predict(pictures, **where)
    assert answer.tag == "right", answer
    assert [picture.preds for picture in answer.value] == [[text, text[::-1]] for text in pictures]
    assert [picture.logprobs for picture in answer.value] == [[-0.5, -2.0]] * 3
    assert (await multipredict([pictures[:2], pictures[1:]], **where)).tag == "right"
    answer = await predict(pictures, **{**where, "endpoint": "/v1/models/nope:predict"})
    assert (answer.tag, answer.value.tag) == ("left", "tfserving-error"), answer


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
