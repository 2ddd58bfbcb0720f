"""Every key of the config as a Markdown page: python -m tools.config > docs/config.md"""

from engine.config.help import reference

if __name__ == "__main__":
    print(reference(), end="")
