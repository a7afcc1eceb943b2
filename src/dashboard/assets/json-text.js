// JSON as people edit it. The text is only spaced out: no number or name is read and written anew, because a parked payload
// may hold numbers that no browser can hold.

/** With a line for each member; what is no JSON stays as it is. */
export function spaced(text) {
  if (faultOf(text)) return text;
  let [out, depth, quoted] = ["", 0, false];
  const line = () => `\n${"  ".repeat(depth)}`;
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at];
    if (quoted) {
      out += char;
      if (char === "\\") out += text[(at += 1)];
      else if (char === '"') quoted = false;
    } else if (char === '"') {
      quoted = true;
      out += char;
    } else if (char === "{" || char === "[") {
      const end = /^\s*[}\]]/.exec(text.slice(at + 1, at + 200));
      if (end) {
        out += char + end[0].trim();
        at += end[0].length;
      } else {
        depth += 1;
        out += char + line();
      }
    } else if (char === "}" || char === "]") {
      depth -= 1;
      out += line() + char;
    } else if (char === ",") out += char + line();
    else if (char === ":") out += ": ";
    else if (!/\s/.test(char)) out += char;
  }
  return out;
}

/** Why a text is no JSON; `null` when it is. */
export function faultOf(text) {
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    return error.message;
  }
}
