"""`python -m benchmarks.pages`: writes the pages anew."""

from __future__ import annotations

from benchmarks.pages import PAGES, ROOT, refreshed


def main() -> None:
    for path in PAGES:
        before = path.read_text("utf-8")
        after = refreshed(before)
        if after != before:
            path.write_text(after, "utf-8")
            print(f"refreshed: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
