"""Rules about what config.pbtxt says of any model; importing it registers them."""

from trtbuild_rules import import_all

import_all(__name__, __path__)
