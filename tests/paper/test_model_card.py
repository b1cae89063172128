"""The tables are written whole, one file each; what they hold is tested with the posteriors, in test_bundle.py."""

from radio_bnn.paper import model_card


def test_every_table_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(model_card, "TABLES", {"one": lambda e: "| 1 |", "two": lambda e: "| 2 |"})
    paths = model_card.write(tmp_path)
    assert [(p.name, p.read_text()) for p in paths] == [
        ("model_card_one.md", "| 1 |\n"),
        ("model_card_two.md", "| 2 |\n"),
    ]
