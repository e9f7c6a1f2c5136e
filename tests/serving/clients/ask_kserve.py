"""kserve's InferenceRESTClient, with its V1 and its V2 protocol."""

import asyncio
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from plain import TITLES, ask, predict

NAME = "headlines"


async def ask_v2(url: str) -> None:
    expected = predict(url)
    texts = np.array([title.encode() for title in TITLES], object)
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        assert await client.is_server_live(url) is True
        assert await client.is_server_ready(url) is True
        assert await client.is_model_ready(url, NAME) is True
        assert await client.is_model_ready(url, "nope") is False
        for as_bytes in (False, True):
            for wanted in (None, [RequestedOutput("label", {"binary_data": as_bytes})]):
                content = InferInput("title", [len(TITLES)], "BYTES")
                content.set_data_from_numpy(texts, binary_data=as_bytes)
                parameters = {"binary_data_output": as_bytes}
                request = InferRequest(NAME, [content], "a-1", parameters=parameters, request_outputs=wanted)
                answer = await client.infer(url, request, model_name=NAME)
                assert answer.id == "a-1" and answer.model_name == NAME
                outputs = {output.name: output for output in answer.outputs}
                assert outputs["label"].data == expected["label"], outputs["label"].data
                assert len(outputs) == (1 if wanted else 3)
                if not wanted:
                    got = outputs["probabilities"].as_numpy()
                    assert got.tolist() == np.array(expected["probabilities"], np.float32).tolist()
        # As its guide writes one by hand.
        document = {"inputs": [{"name": "title", "shape": [1], "datatype": "BYTES", "data": ["dia bom"]}]}
        answer = await client.infer(url, document, model_name=NAME)
        assert answer.outputs[1].data == ["positive"]
        # Nothing is sent as `"data": null` beside a size of 0.
        nothing = InferInput("title", [0], "BYTES")
        nothing.set_data_from_numpy(np.array([], object), binary_data=True)
        answer = await client.infer(url, InferRequest(NAME, [nothing]), model_name=NAME)
        assert answer.outputs[1].shape == [0]
        try:
            await client.infer(url, {"inputs": []}, model_name=NAME)
        except httpx.HTTPStatusError as error:
            assert "'inputs' is empty" in str(error) and error.response.status_code == 400
        else:
            raise AssertionError("an empty request was answered")


async def ask_v1(url: str) -> None:
    document = {"signature_name": "predict_text", "instances": TITLES}
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        answer = await client.infer(url, document, model_name=NAME)
        assert answer == ask(f"{url}/v1/models/{NAME}:predict", document)
        # TensorFlow Serving's status has no `ready`, so kserve's client says None of it as of ours.
        assert await client.is_model_ready(url, NAME) is None


if __name__ == "__main__":
    asyncio.run(ask_v2(sys.argv[1]))
    asyncio.run(ask_v1(sys.argv[1]))
