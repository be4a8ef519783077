"""Reads the contract as buf compiles it, comments and options included; only our own files are returned."""

import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from paycenter.options.v1 import options_pb2

PROJECT_ROOT = Path(__file__).resolve().parent.parent
BUF = Path(sysconfig.get_path("scripts")) / "buf"

# Options are readable in a parsed image only where the module that declares them was imported.
ERROR_OPTION = options_pb2.error

# Field numbers of descriptor.proto, of which the paths in SourceCodeInfo consist.
_FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE, _FILE_EXTENSION, _FILE_SYNTAX = 4, 5, 6, 7, 12
_MESSAGE_FIELD, _MESSAGE_MESSAGE, _MESSAGE_ENUM, _MESSAGE_EXTENSION, _MESSAGE_ONEOF = 2, 3, 4, 6, 8
_ENUM_VALUE = 2
_SERVICE_METHOD = 2


@dataclass(frozen=True, slots=True)
class Element:
    """One named thing of the contract, from a file down to an enum value, with its leading comment or ""."""

    kind: str
    name: str
    comment: str


@cache
def load_contract() -> tuple[FileDescriptorProto, ...]:
    """Returns the files of `paycenter.*` with source information.

    Raises CalledProcessError when the contract does not compile.
    """
    command = [str(BUF), "build", "protos", "--output", "-#format=binpb"]
    image = subprocess.run(command, cwd=PROJECT_ROOT, check=True, stdout=subprocess.PIPE).stdout
    files = FileDescriptorSet.FromString(image).file
    return tuple(file for file in files if file.name.startswith("paycenter/"))


def elements(file: FileDescriptorProto) -> Iterator[Element]:
    """Yields every element of the file, in no promised order."""
    return _Reader(file).file()


class _Reader:
    """Walks one file; a path is the field numbers and indexes by which SourceCodeInfo names an element."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._file = file
        self._comments = {
            tuple(location.path): location.leading_comments.strip()
            for location in file.source_code_info.location
        }

    def _element(self, kind: str, name: str, *path: int) -> Element:
        return Element(kind=kind, name=name, comment=self._comments.get(path, ""))

    def file(self) -> Iterator[Element]:
        file = self._file
        yield self._element("file", file.name, _FILE_SYNTAX)
        yield from self._services()
        for index, message in enumerate(file.message_type):
            yield from self._message(message, file.package, _FILE_MESSAGE, index)
        for index, enum in enumerate(file.enum_type):
            yield from self._enum(enum, file.package, _FILE_ENUM, index)
        for index, extension in enumerate(file.extension):
            yield self._element("extension", f"{file.package}.{extension.name}", _FILE_EXTENSION, index)

    def _services(self) -> Iterator[Element]:
        for index, service in enumerate(self._file.service):
            name = f"{self._file.package}.{service.name}"
            yield self._element("service", name, _FILE_SERVICE, index)
            for position, method in enumerate(service.method):
                path = (_FILE_SERVICE, index, _SERVICE_METHOD, position)
                yield self._element("method", f"{name}.{method.name}", *path)

    def _message(self, message: DescriptorProto, scope: str, *path: int) -> Iterator[Element]:
        if message.options.map_entry:
            return
        name = f"{scope}.{message.name}"
        yield self._element("message", name, *path)
        for index, field in enumerate(message.field):
            yield self._element("field", f"{name}.{field.name}", *path, _MESSAGE_FIELD, index)
        for index, oneof in enumerate(message.oneof_decl):
            # An optional field is a oneof of its own, which nobody wrote.
            if not oneof.name.startswith("_"):
                yield self._element("oneof", f"{name}.{oneof.name}", *path, _MESSAGE_ONEOF, index)
        for index, extension in enumerate(message.extension):
            yield self._element("extension", f"{name}.{extension.name}", *path, _MESSAGE_EXTENSION, index)
        for index, enum in enumerate(message.enum_type):
            yield from self._enum(enum, name, *path, _MESSAGE_ENUM, index)
        for index, nested in enumerate(message.nested_type):
            yield from self._message(nested, name, *path, _MESSAGE_MESSAGE, index)

    def _enum(self, enum: EnumDescriptorProto, scope: str, *path: int) -> Iterator[Element]:
        name = f"{scope}.{enum.name}"
        yield self._element("enum", name, *path)
        for index, value in enumerate(enum.value):
            yield self._element("enum value", f"{name}.{value.name}", *path, _ENUM_VALUE, index)
