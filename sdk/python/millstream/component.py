"""A module's plugin as the component exports it. `millstream plugin build` writes the few lines that call this."""

from componentize_py_types import Err
from wit_world import exports

from . import config as configs
from . import wit
from .outcome import Fatal, Retry
from .plugin import Configured, declaration, only_stage


def export(module, name, version):
    """The class that componentize-py looks for."""
    stage = only_stage(module)

    class Transform(exports.Transform):
        """`millstream:stage/transform`. componentize-py makes an object a call: what lasts belongs to the class."""

        configured = None

        def describe(self):
            return wit.About(name, version, configs.schema(declaration(stage).config))

        def configure(self, config, given):
            try:
                Transform.configured = Configured(stage, config, given)
                return Transform.configured.contract.wit()
            except configs.ConfigError as error:
                raise Err(str(error)) from error

        def process(self, batch):
            try:
                return Transform.configured.process(batch)
            except Retry as failure:
                raise Err(wit.Failure_Retry(str(failure))) from failure
            except Fatal as failure:
                raise Err(wit.Failure_Fatal(str(failure))) from failure

    return Transform
