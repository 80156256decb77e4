__version__ = "0.5.0"
"""Compress trained vision models with a handful of unlabeled images"""

from dcvit.base.errors import DcvitError
from dcvit.dense.explore import explore as _explore  # a method of families
from dcvit.dense.folder import load_family
from dcvit.dense.making import family
from dcvit.dense.students import Family
from dcvit.images.config import data_config
from dcvit.images.images import few_shot
from dcvit.model import specs as _specs  # makes timm's blocks known
from dcvit.paper.method import PaperRecipe
from dcvit.pipeline import Result, compress
from dcvit.search.method import SearchRecipe
from dcvit.ship.folder import load_student as load
from dcvit.ship.teachers import load_teacher
