// Runs before the first paint, so that a chosen theme never flashes the other one. A cookie, because it is read at once, where
// storage may have to be opened on disk first.
(() => {
  const chosen = /(?:^|; )simbridge_theme=(light|dark)(?:;|$)/.exec(document.cookie);
  if (chosen) document.documentElement.dataset.theme = chosen[1];
})();
