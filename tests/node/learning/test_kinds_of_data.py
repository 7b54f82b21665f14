"""Whatever files an owner has: tables, text, Markdown and folders of them become rows, or are refused by line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan.node.learning.columns import choose
from banyan.node.learning.dataset import load_dataset, read_rows
from banyan.node.learning.errors import DataError
from banyan.node.learning.passages import LONG, markdown_passages, text_passages
from banyan.node.learning.preview import preview, tokenizer_of


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def pairs(path):
    return [tuple(content for _, content in row.turns) for row in read_rows(path)]


def test_a_table_gives_a_row_a_line_by_the_names_of_its_columns(write):
    path = write(
        "faq.csv", '\ufeffid,Question,Answer\n1,"What, now?","Line one\nline two"\n2,Why?,\n\n3,Who?,I\n'
    )
    assert pairs(path) == [("What, now?", "Line one\nline two"), ("Who?", "I")]
    found = preview([path])
    assert found.files[0].columns == "Question → Answer"
    assert found.files[0].left_out == {"Answer is empty": 1, "empty row": 1}


def test_semicolons_and_tabs_are_seen_in_the_header(write):
    assert pairs(write("a.csv", "text;date\nein Satz, mit Komma;heute\n")) == [("ein Satz, mit Komma",)]
    assert pairs(write("b.tsv", "note\tauthor\na note\tme\n")) == [("a note",)]


def test_an_instruction_takes_its_input_along(write):
    path = write("alpaca.csv", "instruction,input,output\nAdd,1 and 2,3\nGreet,,Hello\n")
    assert pairs(path) == [("Add\n\n1 and 2", "3"), ("Greet", "Hello")]


def test_objects_with_other_names_for_the_same_fields_are_understood_too(write):
    path = write("a.jsonl", json.dumps({"question": "q", "answer": "a", "id": 7}))
    assert pairs(path) == [("q", "a")]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("text,date\none\n", "line 2: this row has 1 cells where the header has 2"),
        ('text,date\n"open,1\n', "not valid CSV"),
        ("colour,size\nred,1\n", r"none of its columns is known as text \(colour, size\)"),
        (b"text\ncaf\xe9\n", "not valid UTF-8"),
        ("text,id\n" + "x" * (1 << 20) + "y,1\n", "not valid CSV"),
    ],
)
def test_a_table_that_is_none_is_refused_by_file_and_line(write, content, complaint):
    path = write("bad.csv", content)
    with pytest.raises(DataError, match=complaint) as caught:
        list(read_rows(path))
    assert str(path) in str(caught.value)


def test_text_is_cut_where_a_reader_would_pause():
    lines = ["One. " * 30, "", "Two.", "", "Three. " * 40, "", "Four. " * 2_000]
    found = list(text_passages(lines))
    assert found[0].startswith("One.")
    assert "Two." in found[0] and "Three." in found[0]
    assert all(len(passage) <= LONG for passage in found)
    assert all(passage.endswith(".") for passage in found)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=30))
def test_no_word_of_a_text_is_lost_and_none_comes_twice(lines):
    lines = [part for line in lines for part in line.splitlines() or [""]]
    words = " ".join(lines).split()
    assert " ".join(text_passages(lines)).split() == words


def test_markdown_is_cut_before_headings_and_loses_its_front_matter():
    lines = [
        "---",
        "title: x",
        "---",
        "# One",
        "first",
        "",
        "```",
        "# no heading",
        "```",
        "## Two",
        "second",
        "",
    ]
    assert list(markdown_passages(lines)) == ["# One\nfirst\n\n```\n# no heading\n```", "## Two\nsecond"]
    assert list(markdown_passages(["---", "no end"])) == ["---\nno end"]


def test_a_folder_of_many_kinds_is_read_and_says_what_it_left_out(write, tmp_path):
    write("data/a.jsonl", '{"text": "row"}\n' * 3)
    write("data/deep/b.csv", "text\n" + "\n".join(f"cell {i}" for i in range(20)))
    write("data/c.md", "# Title\n\nA note.\n")
    write("data/d.txt", "Some text.\n")
    write("data/README.md", "about")
    write("data/scan.pdf", b"%PDF")
    write("data/.hidden.jsonl", "not json")
    found = preview([tmp_path / "data"])
    assert [(file.kind, file.rows) for file in found.files] == [
        ("JSONL", 3), ("Markdown", 1), ("text", 1), ("CSV", 20),
    ]  # fmt: skip
    assert {path.rpartition("/")[2]: why for path, why in found.others} == {
        "README.md": "about the data",
        "scan.pdf": ".pdf: not a kind that is read",
    }
    assert (found.training + found.held_out, found.duplicates) == (25, 2)
    assert found.held_out >= 1
    assert not found.counted


def test_a_corrupt_line_is_named_also_through_a_folder(write, tmp_path):
    write("data/a.txt", "fine")
    bad = write("data/b.jsonl", '{"text": "fine"}\n{"text": \n')
    with pytest.raises(DataError, match="line 2") as caught:
        preview([tmp_path / "data"])
    assert str(bad) in str(caught.value)


def test_what_is_no_text_is_refused(write):
    with pytest.raises(DataError, match="line 1: this is no text"):
        list(read_rows(write("a.txt", b"\0\1\2")))
    with pytest.raises(DataError, match="line 2: the text is not valid UTF-8"):
        list(read_rows(write("b.md", b"fine\ncaf\xe9")))


def test_tokens_are_counted_with_the_models_own_tokenizer(write, tiny_model):
    found = preview([write("a.txt", "abc")], tokenizer_of(tiny_model))
    assert (found.tokens, found.counted) == (3, True)  # a token a byte
    assert tokenizer_of(tiny_model.parent) is None


def test_parquet_and_saved_data_sets_are_tables_with_their_splits(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = {"question": [f"q{i}" for i in range(5)], "answer": ["a", None, "c", "d", "e"]}
    table = pyarrow.table(rows)
    parquet.write_table(table, tmp_path / "train-00000-of-00001.parquet")
    parquet.write_table(table.slice(3), tmp_path / "test-00000-of-00001.parquet")
    dataset = load_dataset([tmp_path])
    assert {row.turns[0][1] for row in dataset.held_out} == {"q3", "q4"}
    assert {row.turns[0][1] for row in dataset.training} == {"q0", "q2"}

    saved = tmp_path / "saved"
    for name, part in (("train", table), ("validation", table.slice(4))):
        (saved / name).mkdir(parents=True)
        with pyarrow.ipc.new_stream(str(saved / name / "data-00000-of-00001.arrow"), table.schema) as writer:
            writer.write_table(part)
        (saved / name / "state.json").write_text("{}")
    (saved / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    dataset = load_dataset([saved])
    assert {row.turns[0][1] for row in dataset.held_out} == {"q4"}
    assert len(dataset.training) == 3

    (tmp_path / "torn.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match=r"no whole \.parquet file"):
        list(read_rows(tmp_path / "torn.parquet"))


def test_a_column_alone_is_a_text_in_a_table_and_not_in_an_object(write):
    assert choose(["anything"]).text == "anything"
    assert choose(["anything"], alone=False) is None
    with pytest.raises(DataError, match="no text"):
        list(read_rows(write("a.jsonl", '{"txt": "x"}')))
