"""tritonclient.http, which sends bytes after the JSON, and asks for them, unless it is told not to."""

import sys

import numpy as np
from plain import TITLES, predict
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

NAME = "headlines"


def main(url: str) -> None:
    client = InferenceServerClient(url.removeprefix("http://"))
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(NAME) and client.is_model_ready(NAME, "1") and client.is_model_ready(NAME, "stable")
    assert not client.is_model_ready(NAME, "9") and not client.is_model_ready("nope")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata(NAME)
    assert metadata["inputs"] == [{"name": "title", "datatype": "BYTES", "shape": [-1]}]
    texts = np.array([title.encode() for title in TITLES], object)
    for version in ("", "1", "stable"):
        path = "" if not version else f"/labels/{version}" if version == "stable" else f"/versions/{version}"
        expected = predict(url, path)
        for as_bytes in (True, False):
            content = InferInput("title", [len(TITLES)], "BYTES")
            content.set_data_from_numpy(texts, binary_data=as_bytes)
            wanted = [InferRequestedOutput(name, binary_data=as_bytes) for name in ("label", "confidence")]
            for outputs in (None, wanted):
                for packing in (None, "gzip"):
                    answer = client.infer(
                        NAME, [content], version, outputs, "a-1", request_compression_algorithm=packing,
                        response_compression_algorithm=packing, parameters={"signature_name": "predict_text"},
                    )  # fmt: skip
                    # Bytes that were sent as bytes stay bytes, and are text in JSON.
                    labels = [v.decode() if isinstance(v, bytes) else v for v in answer.as_numpy("label").tolist()]
                    assert labels == expected["label"], labels
                    confidence = np.array(expected["confidence"], np.float32)
                    assert answer.as_numpy("confidence").tolist() == confidence.tolist()
                    assert answer.get_response()["id"] == "a-1"
    pair, whole = InferInput("pair", [2, 2], "FP32"), InferInput("whole", [2], "INT64")
    pair.set_data_from_numpy(np.array([[1, 2], [3, 4]], np.float32))
    whole.set_data_from_numpy(np.array([10, -(2**40)], np.int64), binary_data=False)
    assert client.infer(NAME, [pair, whole]).as_numpy("whole").tolist() == [10, -(2**40)]
    pending = client.async_infer(NAME, [pair, whole])
    assert pending.get_result().as_numpy("sum").tolist() == np.array([13, 7 - 2.0**40], np.float32).tolist()
    for refused in (
        lambda: client.infer("nope", [pair, whole]),
        lambda: client.get_model_config(NAME),
        lambda: client.load_model(NAME),
        lambda: client.infer(NAME, [pair]),
    ):
        try:
            refused()
        except InferenceServerException as error:
            assert error.message() and "exception occurred in the client" not in error.message(), error
        else:
            raise AssertionError("what cannot be answered was")


if __name__ == "__main__":
    main(sys.argv[1])
