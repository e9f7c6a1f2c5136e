"""The two messages of TensorFlow Serving that are read from files: warm-up records and the model config.

Declared here, as far as they are used, so that the server does without the package tensorflow-serving-api, which needs
the full tensorflow (tensorflow/serving#2140). A test compares the declarations with that package.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

# A map is, on the wire and in text, a repeated message of key and value; a message inside may be read as bytes.
_FILE = """
name: "serving/contract.proto" package: "tensorflow.serving" syntax: "proto3"
message_type {
  name: "PredictionLog"
  field { name: "predict_log" number: 6 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: "PredictLog" }
}
message_type {
  name: "PredictLog"
  field { name: "request" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: "PredictRequest" }
}
message_type {
  name: "PredictRequest"
  field { name: "model_spec" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: "ModelSpec" }
  field { name: "inputs" number: 2 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: "PredictRequest.InputsEntry" }
  nested_type {
    name: "InputsEntry"
    field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_BYTES }
  }
}
message_type {
  name: "ModelSpec"
  field { name: "name" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "signature_name" number: 3 label: LABEL_OPTIONAL type: TYPE_STRING }
}
message_type {
  name: "ModelServerConfig"
  field { name: "model_config_list" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: "ModelConfigList" }
}
message_type {
  name: "ModelConfigList"
  field { name: "config" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: "ModelConfig" }
}
message_type {
  name: "ModelConfig"
  field { name: "name" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "base_path" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "model_platform" number: 4 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "model_version_policy" number: 7 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: "VersionPolicy" }
  field { name: "version_labels" number: 8 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: "ModelConfig.VersionLabelsEntry" }
  nested_type {
    name: "VersionLabelsEntry"
    field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_INT64 }
  }
}
message_type {
  name: "VersionPolicy"
  field { name: "latest" number: 100 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: "VersionPolicy.Latest" oneof_index: 0 }
  field { name: "all" number: 101 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: "VersionPolicy.All" oneof_index: 0 }
  field { name: "specific" number: 102 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: "VersionPolicy.Specific" oneof_index: 0 }
  oneof_decl { name: "policy_choice" }
  nested_type {
    name: "Latest"
    field { name: "num_versions" number: 1 label: LABEL_OPTIONAL type: TYPE_UINT32 }
  }
  nested_type { name: "All" }
  nested_type {
    name: "Specific"
    field { name: "versions" number: 1 label: LABEL_REPEATED type: TYPE_INT64 }
  }
}
"""  # noqa: E501

# A pool of its own: the same names may be registered in the default one.
_POOL = descriptor_pool.DescriptorPool()
_POOL.AddSerializedFile(text_format.Parse(_FILE, descriptor_pb2.FileDescriptorProto()).SerializeToString())


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"tensorflow.serving.{name}"))


PredictionLog = _message("PredictionLog")
ModelServerConfig = _message("ModelServerConfig")
