"""``python -m cloudpush`` is the command line too."""

from cloudpush.cli import main

main()
