from speechprompt.config.reference import render_page, render_schema


def test_page_and_schema_are_those_of_the_model(repository):
    for name, rendered in (
        ("configuration.md", render_page()),
        ("config.schema.json", render_schema()),
    ):
        stored = (repository / "docs" / name).read_text()
        assert stored == rendered, f"docs/{name} is out of date: make reference"
