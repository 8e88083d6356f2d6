"""A receipt is canonical JSON, and its parts are those of RFC 6962 and of the log."""

from __future__ import annotations

import json

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from services.audit.log.merkle import Tree, leaf_hash
from services.audit.log.note import Checkpoint, SignedCheckpoint, b64
from services.audit.receipts import receipt_text, tlog_proof
from services.audit.records.fields import Opening

HASHES = st.binary(min_size=32, max_size=32)
IDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)
OPENINGS = st.builds(Opening, st.integers(0, 5), st.integers(1, 6), HASHES, st.lists(HASHES, max_size=3).map(tuple))


@given(
    IDS,
    st.binary(min_size=98, max_size=98),
    st.dictionaries(st.sampled_from(["request_received", "answer_released"]), OPENINGS),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["dev.strongroom/00", "log.example/1"]),
)
def test_a_receipt_is_written_as_rfc_8785_writes_it(record_id, leaf, openings, proof, origin) -> None:
    """Fails if a name is out of order, or if the record id or the proof is not escaped."""
    text = receipt_text(record_id, leaf, openings, proof, origin)
    value = json.loads(text)
    assert text.encode() == rfc8785.dumps(value)
    assert (value["request_id"], value["leaf"], value["tlog_proof"]) == (record_id, b64(leaf), proof)
    assert value["environment"] == ("DEVELOPMENT" if origin.startswith("dev.") else "PRODUCTION")
    assert value["openings"] == {
        name: {
            "index": opening.index,
            "count": opening.count,
            "salt": b64(opening.salt),
            "siblings": [b64(sibling) for sibling in opening.siblings],
        }
        for name, opening in openings.items()
    }


def test_a_proof_names_index_siblings_and_the_checkpoint_verbatim() -> None:
    leaves = [leaf_hash(bytes([n])) for n in range(3)]
    tree = Tree(leaves)
    signed = SignedCheckpoint(Checkpoint("log.example/1", 3, tree.root()), "the note\n")
    assert tlog_proof(tree, 2, signed) == f"c2sp.org/tlog-proof@v1\nindex 2\n{b64(tree.root(2))}\n\nthe note\n"
