"""Rules about ensembles and the models that they are made of; importing it registers them."""

from trtbuild_rules import import_all

import_all(__name__, __path__)
