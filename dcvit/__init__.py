__version__ = "0.3.0"
from .blocks import DcvitError
from . import families
from .recipe import Recipe
from .compress import compress, Result
from .export import load, load_teacher
from .family import family, Family, load_family
