"""`python -m classifier` is `nfq-classifier`."""

import sys

from classifier.commands import main

sys.exit(main())
