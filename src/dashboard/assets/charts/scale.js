// Axes with round numbers, and the colours of series.

import { byteScale } from "../format.js";

/** Colours that `charts.css` defines, in the order in which series take them; the last one is for the rest. */
export const SERIES_COLOURS = 6;

export function colourClass(index) {
  return index < 0 || index >= SERIES_COLOURS ? "series-rest" : `series-${index}`;
}

/** 1, 2, 2.5 or 5 times a power of ten, not below `value`. */
function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= value * (1 - 1e-9));
  return step * power;
}

/** Steps of an axis from 0 to `largest` in about `count` intervals, in `unit`. */
export function axis(largest, count, unit = 1) {
  const step = roundUp((largest > 0 ? largest : unit) / count / unit) * unit;
  const steps = Math.max(1, Math.ceil((largest / step) * (1 - 1e-9)));
  return { step, steps, top: step * steps };
}

/** The same for bytes, with labels in one unit. */
export function byteAxis(largest, count) {
  const { size, label } = byteScale(largest);
  const scale = axis(largest, count, size);
  // Rounded up, the top may be a whole of the next unit.
  return { ...scale, label: scale.top >= size * 1024 ? byteScale(scale.top).label : label };
}

/** An axis beside another one: as many intervals, so that both share the lines. */
export function alongside(largest, steps) {
  const step = roundUp((largest > 0 ? largest : 1) / steps);
  return { step, steps, top: step * steps };
}

/** Every how many-th label fits. */
export function stride(count, width, labelWidth) {
  return Math.max(1, Math.ceil((count * labelWidth) / Math.max(width, 1)));
}
