"""What is said where a package does not tell."""

from __future__ import annotations

from edgeops.reports.document import Paragraph
from edgeops.reports.package_facts import PackageFacts


def unread(facts: PackageFacts) -> Paragraph:
    """Return why nothing is known of what is in a file."""
    if facts.has_record:
        said = "Nothing read this file when it was packaged, so what is in it is not known."
    else:
        said = "Without a build record it is not known what is in the file."
    return Paragraph(text=said, tone="quiet")
