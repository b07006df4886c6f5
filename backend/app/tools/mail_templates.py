"""`python -m app.tools.mail_templates`: compile the MJML of mails into the HTML template that is committed.

MJML's tags become tables that mail programs show alike; what is Jinja's goes through untouched.
"""

import sys

from app.core.email import TEMPLATES

SOURCE, COMPILED = TEMPLATES / "base.mjml", TEMPLATES / "base.html.j2"


def compiled() -> str:
    """The HTML template as its source makes it now.

    Raises:
        ValueError: the source has something that MJML does not know.
    """
    from mrml import to_html  # a tool of development: the service itself runs without it

    made = to_html(SOURCE.read_text())
    if made.warnings:
        raise ValueError(f"{SOURCE.name}: {'; '.join(map(str, made.warnings))}")
    return made.content + "\n"


if __name__ == "__main__":
    COMPILED.write_text(compiled())
    sys.exit(0)
