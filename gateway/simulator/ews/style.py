"""The namespace styles of answers: the same document with other prefixes, as other servers write it."""

from __future__ import annotations

from lxml import etree

from gateway.simulator.ews.soap import DECLARATION, ILLEGAL_REFERENCE, M, S, T, quoted, text

_PREFIXES: dict[str, dict[str, str]] = {
    "prefixed": {S: "s", M: "m", T: "t"},
    "unprefixed": {},
    "soap11": {S: "soap11"},
}


def apply(xml: str, style: str) -> str:
    """The document in a style of EwsOptions.prefixes, with its placeholders replaced."""
    if style != "recorded":
        xml = DECLARATION + restyled(xml, style)
    return xml.replace(ILLEGAL_REFERENCE, "&#x0;") if ILLEGAL_REFERENCE in xml else xml


def restyled(xml: str, style: str) -> str:
    """The document with other prefixes, without a declaration. `style` is any but "recorded"."""
    return _write(etree.fromstring(xml.encode()), _PREFIXES[style], {})


def _write(element: etree._Element, prefixes: dict[str, str], inherited: dict[str, str]) -> str:
    """Serialise with the given prefix per namespace, and a default namespace for those without one.

    `inherited` maps the prefixes in scope ("" for the default) to namespaces.
    """
    name = etree.QName(element)
    namespace = name.namespace or ""
    prefix = prefixes.get(namespace, "")
    declared = ""
    if inherited.get(prefix, "") != namespace:
        declared = f" xmlns:{prefix}={quoted(namespace)}" if prefix else f" xmlns={quoted(namespace)}"
        inherited = {**inherited, prefix: namespace}
    tag = f"{prefix}:{name.localname}" if prefix else name.localname
    attributes = "".join(f" {_attribute(str(key))}={quoted(str(value))}" for key, value in element.items())
    content = text(element.text or "") + "".join(_write(child, prefixes, inherited) for child in element)
    tail = text(element.tail or "")
    if not content:
        return f"<{tag}{declared}{attributes}/>{tail}"
    return f"<{tag}{declared}{attributes}>{content}</{tag}>{tail}"


def _attribute(key: str) -> str:
    return key.replace("{http://www.w3.org/XML/1998/namespace}", "xml:")
