"""Do the stories still go as they are written? `--rewrite-transcripts` writes them anew."""

from pathlib import Path

import pytest

from .stage import play

STORIES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("story", STORIES, ids=lambda path: path.stem)
def test_the_story_goes_as_it_is_written(story: Path, tmp_path: Path, rewrite: bool) -> None:
    written = story.read_text("utf-8")
    played = play(written, tmp_path / "state")
    if rewrite:
        story.write_text(played, "utf-8")
        written = played
    assert written == played


def test_a_story_that_goes_otherwise_is_noticed(tmp_path: Path) -> None:
    told = "node n1\n\nsubmit\n----\nnothing\n"
    assert told != play(told, tmp_path / "state")
