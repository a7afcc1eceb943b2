// Crosshair, tooltip, selection: by mouse, finger and keyboard alike.

import { announce, attributes, fill, perFrame, style } from "../dom.js";

const DRAG_FROM_PX = 6;

/**
 * `frame()` gives `{inner, slot, points, x}` of what is drawn, `describe(index)` `{nodes, words}` of a period. `onZoom(first, last)` may
 * be null.
 */
export function attachPointer({ plot, tooltip, parts, frame, describe, onZoom }) {
  const { band, cross, selection } = parts;
  let active = -1;
  let anchor = -1;
  let drag = null;

  const indexAt = (clientX) => {
    const { inner, slot, points } = frame();
    const x = clientX - plot.getBoundingClientRect().left - inner.left;
    return Math.min(points.length - 1, Math.max(0, Math.floor(x / slot)));
  };

  function show(index, { aloud = false } = {}) {
    const drawn = frame();
    if (!drawn || drawn.points.length === 0) return hide();
    active = Math.min(index, drawn.points.length - 1);
    const { inner, slot } = drawn;
    const left = inner.left + slot * active;
    const tall = inner.bottom - inner.top;
    attributes(band, { x: left, y: inner.top, width: slot, height: tall, visibility: "visible" });
    const x = drawn.x(active);
    attributes(cross, { x1: x, x2: x, y1: inner.top, y2: inner.bottom, visibility: "visible" });
    const { nodes, words } = describe(active);
    fill(tooltip, nodes);
    tooltip.hidden = false;
    place(x, inner);
    if (aloud) announce(words);
  }

  /** Beside the crosshair, on the side where there is room. */
  function place(x, inner) {
    const { offsetWidth: width } = tooltip;
    const room = plot.clientWidth;
    const right = x + 14 + width <= room - 4;
    const at = right ? x + 14 : x - 14 - width;
    style(tooltip, { left: `${Math.max(4, Math.min(at, room - width - 4))}px`, top: `${inner.top}px` });
  }

  function select(from, to) {
    const { inner, slot } = frame();
    const [first, last] = [Math.min(from, to), Math.max(from, to)];
    attributes(selection, {
      x: inner.left + slot * first,
      y: inner.top,
      width: slot * (last - first + 1),
      height: inner.bottom - inner.top,
      visibility: "visible",
    });
  }

  function hide() {
    active = -1;
    tooltip.hidden = true;
    for (const part of [band, cross]) part.setAttribute("visibility", "hidden");
  }

  function unselect() {
    anchor = -1;
    drag = null;
    selection.setAttribute("visibility", "hidden");
  }

  function zoom(from, to) {
    const range = [Math.min(from, to), Math.max(from, to)];
    unselect();
    hide();
    onZoom(...range);
  }

  const moved = perFrame((clientX) => {
    if (!frame()) return;
    const index = indexAt(clientX);
    if (drag) {
      drag.moved ||= Math.abs(clientX - drag.x) >= DRAG_FROM_PX;
      if (drag.moved) select(drag.index, index);
    }
    if (index !== active) show(index);
  });

  const listeners = {
    pointermove: (event) => moved(event.clientX),
    pointerleave: () => {
      if (!drag && document.activeElement !== plot) hide();
    },
    pointerdown: (event) => {
      if (!frame() || frame().points.length === 0) return;
      if (event.pointerType === "touch") return moved(event.clientX);
      if (!onZoom || event.button !== 0) return;
      plot.setPointerCapture(event.pointerId);
      drag = { x: event.clientX, index: indexAt(event.clientX), moved: false };
    },
    pointerup: (event) => {
      const ended = drag;
      if (!ended) return;
      const far = ended.moved || Math.abs(event.clientX - ended.x) >= DRAG_FROM_PX;
      const index = indexAt(event.clientX);
      unselect();
      if (far) zoom(ended.index, index);
    },
    pointercancel: unselect,
    blur: () => {
      unselect();
      hide();
    },
    keydown: onKey,
  };

  function onKey(event) {
    const drawn = frame();
    if (!drawn || drawn.points.length === 0) return;
    const last = drawn.points.length - 1;
    const here = active < 0 ? last + 1 : active;
    const targets = {
      ArrowLeft: Math.max(0, here - 1),
      ArrowRight: active < 0 ? 0 : Math.min(last, here + 1),
      Home: 0,
      End: last,
    };
    if (event.key in targets) {
      event.preventDefault();
      // Who selects before pointing anywhere begins where the first key leads.
      if (event.shiftKey && onZoom) anchor = [anchor, active, targets[event.key]].find((index) => index >= 0);
      else if (anchor >= 0) unselect();
      show(targets[event.key], { aloud: true });
      if (anchor >= 0) select(anchor, active);
    } else if (event.key === "Escape" && active >= 0) {
      event.preventDefault();
      unselect();
      hide();
    } else if (event.key === "Enter" && onZoom && active >= 0) {
      event.preventDefault();
      zoom(anchor < 0 ? active : anchor, active);
    }
  }

  for (const [name, listener] of Object.entries(listeners)) plot.addEventListener(name, listener);

  return {
    /** After the chart was drawn anew. */
    redraw() {
      if (active >= 0 && frame().points.length > 0) show(active);
      else hide();
    },
    dispose() {
      for (const [name, listener] of Object.entries(listeners)) plot.removeEventListener(name, listener);
    },
  };
}
