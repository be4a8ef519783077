"""A protoc plugin that writes `*_pb2_grpc.py`; it adds nothing to what grpcio-tools generates.

buf speaks the plugin protocol, grpcio-tools has the generator only inside its own protoc, so this hands the
descriptors over.
"""

import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc


def generate(request: plugin_pb2.CodeGeneratorRequest) -> plugin_pb2.CodeGeneratorResponse:
    """Returns one `*_pb2_grpc.py` for each file to generate that declares a service."""
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    )
    wanted = set(request.file_to_generate)
    with_services = [file.name for file in request.proto_file if file.name in wanted and file.service]
    if not with_services:
        return response
    with tempfile.TemporaryDirectory() as folder:
        descriptors = Path(folder) / "descriptors.binpb"
        output = Path(folder) / "output"
        output.mkdir()
        descriptors.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
        exit_code = protoc.main(
            ["protoc", f"--descriptor_set_in={descriptors}", f"--grpc_python_out={output}", *with_services]
        )
        if exit_code != 0:
            response.error = f"protoc --grpc_python_out ended with exit code {exit_code}"
            return response
        for path in sorted(output.rglob("*.py")):
            response.file.add(
                name=path.relative_to(output).as_posix(), content=path.read_text(encoding="utf-8")
            )
    return response


if __name__ == "__main__":
    sys.stdout.buffer.write(
        generate(plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())).SerializeToString()
    )
