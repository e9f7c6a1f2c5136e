"""One headline a request over TensorFlow Serving's REST API and over V2, for locust, which is no part of the service.

`locust -f benchmarks/locustfile.py --headless -u 8 -t 30s --host http://127.0.0.1:8501`
"""

from typing import Any

from locust import FastHttpUser, task

TITLE = "Chuva forte em São Paulo"
REST = {"signature_name": "predict_text", "instances": [TITLE]}
OPEN = {"inputs": [{"name": "title", "shape": [1], "datatype": "BYTES", "data": [TITLE]}]}


class Reader(FastHttpUser):
    """Asks as soon as it is answered, and counts an answer without a label as a failure."""

    @task  # type: ignore[untyped-decorator]
    def ask_rest(self) -> None:
        """Over TensorFlow Serving's REST API."""
        self._ask("/v1/models/headlines:predict", REST, lambda answer: answer["predictions"][0]["label"])

    @task  # type: ignore[untyped-decorator]
    def ask_open_inference(self) -> None:
        """Over the Open Inference protocol."""
        self._ask("/v2/models/headlines/infer", OPEN, lambda answer: answer["outputs"][1]["data"][0])

    def _ask(self, path: str, document: dict[str, Any], read_label: Any) -> None:
        with self.client.post(path, json=document, catch_response=True) as answer:
            if answer.status_code != 200 or not read_label(answer.json()):
                answer.failure(f"{answer.status_code} {answer.text}")
