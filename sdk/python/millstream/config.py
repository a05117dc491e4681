"""A stage's config: its table of the pipeline file as a dataclass. A key that the class does not have is refused."""

import dataclasses
import json
import types
import typing


class ConfigError(Exception):
    """What is wrong with a config, for the author of the pipeline file: `ConfigError("is empty", key="bots")`."""

    def __init__(self, message, key=None):
        super().__init__(f"config key `{key}`: {message}" if key else f"config: {message}")


def read(kind, text):
    """The config's JSON text as the class; `None` takes no config, `dict` takes any."""
    config = json.loads(text)
    if config is None:
        config = {}
    if not isinstance(config, dict):
        raise ConfigError("a table was expected")
    if kind is None:
        for key in config:
            raise ConfigError("unknown key: this stage takes no config", key)
        return None
    return config if kind is dict else _dataclass(kind, config, "")


def schema(kind):
    """The config's JSON schema as text; None when no config is taken."""
    if kind is None:
        return None
    if kind is dict:
        return "true"
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **_schema(kind, kind.__name__)})


def _dataclass(kind, config, path):
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in config:
        if key not in fields:
            raise ConfigError(f"unknown key; known are {', '.join(fields) or 'none'}", path + key)
    hints = typing.get_type_hints(kind)
    values = {}
    for name, field in fields.items():
        if name in config:
            values[name] = _value(hints[name], config[name], path + name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError("is missing", path + name)
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error), path.rstrip(".") or None) from error


def _value(hint, value, path):
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is typing.Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _union(hint, arguments, value, path)
    if origin is typing.Literal:
        if value not in arguments:
            raise ConfigError(f"{value!r} is none of {', '.join(map(repr, arguments))}", path)
        return value
    if hint is list or origin is list:
        _expect(isinstance(value, list), "a list", value, path)
        item = arguments[0] if arguments else typing.Any
        return [_value(item, part, f"{path}[{index}]") for index, part in enumerate(value)]
    if hint is dict or origin is dict:
        _expect(isinstance(value, dict), "a table", value, path)
        item = arguments[1] if arguments else typing.Any
        return {key: _value(item, part, f"{path}.{key}") for key, part in value.items()}
    if dataclasses.is_dataclass(hint):
        _expect(isinstance(value, dict), "a table", value, path)
        return _dataclass(hint, value, path + ".")
    if hint is float:
        _expect(isinstance(value, (int, float)) and not isinstance(value, bool), "a number", value, path)
        return float(value)
    if hint in _NAMES:
        _expect(type(value) is hint, _NAMES[hint], value, path)
        return value
    raise TypeError(f"config key `{path}`: the SDK reads no {hint}")


def _union(hint, arguments, value, path):
    if value is None and type(None) in arguments:
        return None
    choices = [argument for argument in arguments if argument is not type(None)]
    for choice in choices:
        try:
            return _value(choice, value, path)
        except ConfigError as error:
            if len(choices) == 1:
                raise
            last = error
    raise last


def _expect(right, what, value, path):
    if not right:
        raise ConfigError(f"{what} was expected, not {json.dumps(value)}", path)


_NAMES = {str: "text", int: "a whole number", bool: "true or false"}
_KINDS = {str: "string", int: "integer", bool: "boolean", float: "number"}


def _schema(hint, title=None):
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        fields = dataclasses.fields(hint)
        required = [
            field.name for field in fields
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        ]
        properties = {field.name: _schema(hints[field.name]) for field in fields}
        named = {"title": title} if title else {}
        return {**named, "type": "object", "properties": properties, "required": required, "additionalProperties": False}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [{"type": "null"} if part is type(None) else _schema(part) for part in arguments]}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if hint is list or origin is list:
        return {"type": "array", "items": _schema(arguments[0])} if arguments else {"type": "array"}
    if hint is dict or origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1])} if arguments else {"type": "object"}
    return {"type": _KINDS[hint]} if hint in _KINDS else {}
