"""Rules about the files of a repository and their operation; importing it registers them."""

from trtbuild_rules import import_all

import_all(__name__, __path__)
