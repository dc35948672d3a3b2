from pointrecon.catalogue import list_models as list_models
from pointrecon.encoders import load_encoder as load_encoder
from pointrecon.encoders import load_model as load_model

__version__: str
__all__: list[str]
