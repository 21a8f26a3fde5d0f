"""Accept headers and the shapes they ask for."""

from __future__ import annotations

import pytest

from podhost.api.errors import ApiError
from podhost.apiserver.negotiation import Representation, View, negotiate

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", Representation()),
        ("*/*", Representation()),
        ("application/json", Representation()),
        (f"{TABLE},{TABLE.replace('v1', 'v1beta1')},application/json", Representation(View.TABLE)),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", Representation()),
        ("application/vnd.kubernetes.protobuf,application/json", Representation()),
        ("application/vnd.kubernetes.protobuf,*/*", Representation()),
        ("application/yaml", Representation(yaml=True)),
        ("application/json;q=0.5, application/yaml", Representation(yaml=True)),
        (
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Representation(View.METADATA),
        ),
        ("application/cbor;as=Table, application/json; as=Table; g=meta.k8s.io; v=v1", Representation(View.TABLE)),
    ],
)
def test_first_wish_that_can_be_met(accept: str, wanted: Representation) -> None:
    assert negotiate(accept) == wanted


def test_table_rows_carry_what_was_asked_for() -> None:
    assert negotiate(TABLE, "Object").include_object == "Object"


@pytest.mark.parametrize(
    "accept", ["text/html", "application/vnd.kubernetes.protobuf", "application/json;as=Foo;g=x;v=v1"]
)
def test_nothing_that_we_have(accept: str) -> None:
    with pytest.raises(ApiError, match="only the following media types are accepted") as caught:
        negotiate(accept)
    assert caught.value.code == 406
