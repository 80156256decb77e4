__version__ = "0.1.0"
from .blocks import DcvitError
from .recipe import Recipe
from .compress import compress, Result
from .export import load, load_teacher
