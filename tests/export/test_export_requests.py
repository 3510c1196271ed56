"""The page saved_models/README.md, line by line, against a server that answers with the loaded signatures."""
import base64
import concurrent.futures
import http.server
import json
import os
import pathlib
import re
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerazoo.export

README = pathlib.Path(__file__).parents[2] / "saved_models" / "README.md"
DIGITS = [str(digit) for digit in range(10)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working directory with the page's export and its image."""
    place = tmp_path_factory.mktemp("place")
    keras.utils.set_random_seed(0)
    layers = [keras.Input((28, 28, 1)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(10)]
    kerazoo.export(keras.Sequential(layers), place / "saved_models" / "lenet5_mnist", class_names=DIGITS, verbose=False)
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, 1), dtype="uint8")
    (place / "digit.png").write_bytes(tf.io.encode_png(pixels).numpy())
    return place


@pytest.fixture(scope="module")
def signatures(place):
    loaded = tf.saved_model.load(str(place / "saved_models" / "lenet5_mnist"))
    return {name: (loaded, function) for name, function in loaded.signatures.items()}


def python_blocks():
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def run(code, place, **names):
    before = os.getcwd()
    os.chdir(place)
    try:
        exec(compile(code, str(README), "exec"), names)
    finally:
        os.chdir(before)
    return names


def answer_rest(signatures, body):
    """TensorFlow Serving's row format: https://www.tensorflow.org/tfx/serving/api_rest."""
    _, function = signatures[body.get("signature_name", "serving_default")]
    ((name, spec),) = function.structured_input_signature[1].items()
    rows = [row.get(name, row) if isinstance(row, dict) and "b64" not in row else row for row in body["instances"]]
    rows = [base64.b64decode(row["b64"]) if isinstance(row, dict) else row for row in rows]
    outputs = function(**{name: tf.constant(rows, spec.dtype)})

    def plain(value):
        return value.decode() if isinstance(value, bytes) else [each.decode() for each in value] \
            if value.dtype == object else value.tolist()

    columns = {key: [plain(row) for row in output.numpy()] for key, output in outputs.items()}
    return {"predictions": [dict(zip(columns, row)) for row in zip(*columns.values())]}


@pytest.fixture
def rest_port(signatures):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/v1/models/lenet5_mnist:predict"
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            content = json.dumps(answer_rest(signatures, body)).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def grpc_port(signatures):
    reason = "tensorflow-serving-api is not installed"
    pytest.importorskip("tensorflow_serving.apis.predict_pb2", reason=reason)
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            assert request.model_spec.name == "lenet5_mnist"
            _, function = signatures[request.model_spec.signature_name]
            inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
            response = predict_pb2.PredictResponse()
            for name, output in function(**inputs).items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(output.numpy()))
            return response

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


def test_python_with_tensorflow_alone_and_the_predictor(place, capsys):
    alone, predictor = python_blocks()[:2]
    names = run(alone, place)
    printed = capsys.readouterr().out
    assert printed.count("b'") == 4
    run(predictor, place, images=names["images"])


def test_rest(place, rest_port, signatures):
    code = next(block for block in python_blocks() if ":8501" in block).replace(":8501", f":{rest_port}")
    images = np.random.default_rng(1).integers(0, 256, (2, 28, 28, 1), dtype="uint8")
    names = run(code, place, images=images)
    encoded = base64.b64encode((place / "digit.png").read_bytes()).decode()
    by_file = names["rest"]({"signature_name": "image_bytes", "instances": [{"b64": encoded}]})
    by_pixels = names["rest"]({"signature_name": "serving_uint8", "instances": images.tolist()})
    wanted = signatures["serving_uint8"][1](images=tf.constant(images))
    assert [row["label"] for row in by_pixels["predictions"]] == [label.decode() for label in wanted["label"].numpy()]
    assert set(by_file["predictions"][0]) == set(wanted) and len(by_file["predictions"][0]["top_k_labels"]) == 5


def test_grpc(place, grpc_port, signatures):
    code = next(block for block in python_blocks() if ":8500" in block).replace(":8500", f":{grpc_port}")
    answer = run(code, place)["answer"]
    wanted = signatures["image_bytes"][1](image_bytes=tf.constant([(place / "digit.png").read_bytes()]))
    for name, output in wanted.items():
        np.testing.assert_array_equal(tf.make_ndarray(answer.outputs[name]), output)
