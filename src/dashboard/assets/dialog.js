// A question that has to be answered before anything else happens.

import { h, uid } from "./dom.js";

/** Resolves to whether `action` was chosen; Escape and `cancel` are no. */
export function confirmDialog({ title, words, action, cancel = "Keep it" }) {
  const heading = uid("dialog");
  return new Promise((resolve) => {
    const close = (answer) => {
      dialog.close();
      dialog.remove();
      resolve(answer);
    };
    const no = h("button", { class: "button", type: "button", dataset: { testid: "dialog-cancel" }, onclick: () => close(false) }, cancel);
    const yes = h("button", { class: "button button-danger", type: "button", dataset: { testid: "dialog-confirm" }, onclick: () => close(true) }, action);
    const dialog = h(
      "dialog",
      { class: "dialog", "aria-labelledby": heading, dataset: { testid: "dialog" } },
      h("h2", { id: heading }, title),
      h("p", {}, words),
      h("div", { class: "dialog-buttons" }, no, yes),
    );
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      close(false);
    });
    document.body.append(dialog);
    dialog.showModal();
    no.focus();
  });
}
