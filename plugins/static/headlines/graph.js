/* Pictures of lineage: their size by button or key, and beside a box that is pointed at what leads to it and from it. */
(() => {
  const STEP = 1.25;
  const SMALLEST = 0.2;
  const GREATEST = 4;
  const KEYS = { "+": "in", "=": "in", "-": "out", "0": "fit" };
  let pinned = null;

  const partsOf = (element) => {
    const frame = element.closest(".hl-zoom, .hl-picture");
    const picture = frame.matches(".hl-zoom") ? frame.nextElementSibling : frame;
    return { picture, svg: picture.querySelector("svg"), said: picture.nextElementSibling };
  };

  const resize = ({ picture, svg, said }, how) => {
    const { width, height } = svg.viewBox.baseVal;
    const before = svg.width.baseVal.value / width;
    const fitting = Math.min(1, picture.clientWidth / width, (0.8 * innerHeight - 20) / height);
    const wanted = { in: before * STEP, out: before / STEP, fit: fitting }[how];
    const scale = Math.min(GREATEST, Math.max(SMALLEST, wanted));
    // What is in the middle stays there.
    const middle = ["Left", "Top"].map((side, at) => {
      const seen = at ? picture.clientHeight : picture.clientWidth;
      return [`scroll${side}`, seen, (picture[`scroll${side}`] + seen / 2) / before];
    });
    svg.setAttribute("width", Math.round(width * scale));
    svg.setAttribute("height", Math.round(height * scale));
    for (const [scroll, seen, place] of middle) picture[scroll] = place * scale - seen / 2;
    said.textContent = `${Math.round(100 * scale)} % of its size`;
  };

  const follow = (lines, key, from, to) => {
    const reached = new Set([key]);
    for (const one of reached) {
      for (const line of lines) if (line.dataset[from] === one) reached.add(line.dataset[to]);
    }
    return reached;
  };

  const trace = ({ svg, said }, box) => {
    const lines = [...svg.querySelectorAll("[data-source]")];
    const before = box && follow(lines, box.dataset.key, "target", "source");
    const after = box && follow(lines, box.dataset.key, "source", "target");
    const isOn = (line, side) => side.has(line.dataset.source) && side.has(line.dataset.target);
    svg.classList.toggle("hl-tracing", Boolean(box));
    for (const line of lines) line.classList.toggle("hl-lit", Boolean(box) && (isOn(line, before) || isOn(line, after)));
    for (const one of svg.querySelectorAll("[data-key]")) {
      const key = one.dataset.key;
      one.classList.toggle("hl-lit", Boolean(box) && (before.has(key) || after.has(key)));
    }
    const name = box && box.querySelector("title").textContent;
    said.textContent = box ? `${name}: ${before.size - 1} before it, ${after.size - 1} after it` : "";
  };

  const boxOf = (target) => (target instanceof Element ? target.closest(".hl-picture [data-key]") : null);
  // Once nothing is pointed at: the box with the focus, or the one that was chosen.
  const rest = (picture) => trace(partsOf(picture), boxOf(document.activeElement) || pinned);

  for (const event of ["mouseover", "focusin"]) {
    document.addEventListener(event, ({ target }) => {
      const box = boxOf(target);
      if (box) trace(partsOf(box), box);
    });
  }
  document.addEventListener("mouseout", ({ target, relatedTarget }) => {
    if (boxOf(target) && !boxOf(relatedTarget)) rest(target.closest(".hl-picture"));
  });
  document.addEventListener("focusout", ({ target, relatedTarget }) => {
    if (boxOf(target) && !boxOf(relatedTarget)) trace(partsOf(target), pinned);
  });
  document.addEventListener("click", ({ target }) => {
    const button = target instanceof Element && target.closest(".hl-zoom button");
    if (button) resize(partsOf(button), button.value);
    const box = boxOf(target);
    // A box that leads nowhere is chosen by a click, and let go by another.
    if (box && !box.hasAttribute("href")) {
      pinned = pinned === box ? null : box;
      trace(partsOf(box), pinned);
    }
  });
  document.addEventListener("keydown", (event) => {
    const picture = event.target instanceof Element && event.target.closest(".hl-picture");
    if (!picture || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      pinned = null;
      trace(partsOf(picture), null);
    } else if (event.key in KEYS) {
      event.preventDefault();
      resize(partsOf(picture), KEYS[event.key]);
    }
  });

  const offer = () => document.querySelectorAll(".hl-zoom").forEach((bar) => (bar.hidden = false));
  document.addEventListener("headlines:refresh", offer);
  offer();
})();
