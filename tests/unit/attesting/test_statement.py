"""The provenance is what in-toto's and SLSA's own definitions accept, and reads back."""

import json

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance as Predicate
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as Message

from release.attesting.statement import dump, parse
from tests.unit.attesting.keys import digests, files, provenance


def test_in_toto_accepts_the_statement() -> None:
    message = json_format.Parse(provenance(files()), Message())
    Statement.copy_from_pb(message).validate()
    assert {subject.name: subject.digest["sha256"] for subject in message.subject} == digests(files())


def test_slsa_knows_every_field_of_the_predicate() -> None:
    table = json.loads(provenance(files()))
    predicate = json_format.ParseDict(table["predicate"], Predicate())  # an unknown field is an error
    assert predicate.build_definition.build_type == "urn:graftsmith:release:v1"
    (base,) = predicate.build_definition.resolved_dependencies
    assert dict(base.digest) == {"sha256": "4" * 64, "gitCommit": "a" * 40}
    (ran,) = predicate.run_details.byproducts
    assert json_format.MessageToDict(ran.annotations)["isolation"] == {"network": "loopback"}


def test_a_statement_reads_back() -> None:
    data = provenance(files())
    assert dump(parse(data)) == data


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v0.2"),
        ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"),
        ("urn:graftsmith:release:v1", "urn:other"),
        ('"sha256": "', '"sha256": "not hex'),
        ('"lock"', '"key"'),
        ("{", ""),
    ],
)
def test_another_statement_is_refused(old: str, new: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse(provenance(files()).replace(old.encode(), new.encode()))
