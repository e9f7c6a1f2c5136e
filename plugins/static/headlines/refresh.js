/* Looks again while not all is over, and puts in what the server has changed where it is: the place that is read, the
   focus, what is typed and what is unfolded stay. Without it a page is as it was when it was loaded. */
(() => {
  const bar = document.getElementById("hl-refresh");
  const page = document.getElementById("hl-page");
  const button = bar.querySelector("button");
  const said = bar.querySelector("[role=status]");
  const SLOWEST = 120_000;
  const PAUSED = "headlines-paused";
  const least = () => 1000 * bar.dataset.seconds;
  // As the server sent it: what scripts have made of it since is no news.
  let known = page.cloneNode(true);
  let wait = least();
  let looked = Date.now();
  let timer = 0;
  let isOver = false;
  let isPaused = sessionStorage.getItem(PAUSED) === "yes";

  const nameOf = (node) => (node.id ? `#${node.id}` : node.nodeName);

  /* For each fresh child the place of the known one that it takes over: of the same id, else the next of its kind. */
  const pair = (known, fresh) => {
    const places = {};
    known.forEach((node, place) => (places[nameOf(node)] ??= []).push(place));
    return fresh.map((node) => places[nameOf(node)]?.shift());
  };

  const bring = (shown, known, fresh) => {
    if (known.isEqualNode(fresh)) return;
    if (shown.nodeName !== fresh.nodeName) return shown.replaceWith(fresh.cloneNode(true));
    if (shown.nodeType !== Node.ELEMENT_NODE) return void (shown.data = fresh.data);
    // Somebody may be filling it in.
    if (shown.nodeName === "FORM") return;
    for (const name of new Set([...known.getAttributeNames(), ...fresh.getAttributeNames()])) {
      const value = fresh.getAttribute(name);
      if (value === known.getAttribute(name)) continue;
      // Airflow's own script shows tooltips, and keeps their text there.
      if (name === "title" && "originalTitle" in shown.dataset) {
        shown.dataset.originalTitle = value ?? "";
        continue;
      }
      if (value === null) shown.removeAttribute(name);
      else shown.setAttribute(name, value);
    }
    const [own, before, after] = [shown, known, fresh].map((node) => [...node.childNodes]);
    // A script has put something in between.
    if (own.length !== before.length) return shown.replaceChildren(...fresh.cloneNode(true).childNodes);
    const places = pair(before, after);
    own.filter((_, place) => !places.includes(place)).forEach((node) => node.remove());
    after.forEach((node, at) => {
      const place = places[at];
      const child = place === undefined ? node.cloneNode(true) : own[place];
      if (shown.childNodes[at] !== child) shown.insertBefore(child, shown.childNodes[at] ?? null);
      if (place !== undefined) bring(child, before[place], node);
    });
  };

  /* What a page says, but for how long ago things were. */
  const words = (node) => {
    const copy = node.cloneNode(true);
    copy.querySelectorAll("time, script").forEach((one) => one.remove());
    return copy.textContent.replace(/\s+/g, " ");
  };

  const plan = () => {
    clearTimeout(timer);
    if (!isOver && !isPaused && !document.hidden) timer = setTimeout(look, Math.max(0, looked + wait - Date.now()));
  };

  const take = (answer) => {
    const fresh = answer.getElementById("hl-page");
    if (!fresh) throw new Error("you may have to log in again");
    const isNews = words(fresh) !== words(known);
    const focused = document.activeElement;
    bring(page, known, fresh);
    known = fresh;
    document.title = answer.title;
    if (!focused.isConnected && focused.hasAttribute("href")) {
      page.querySelector(`[href="${CSS.escape(focused.getAttribute("href"))}"]`)?.focus({ preventScroll: true });
    }
    document.dispatchEvent(new Event("headlines:refresh"));
    const next = answer.getElementById("hl-refresh");
    isOver = !next;
    if (next) bar.dataset.seconds = next.dataset.seconds;
    // Where nothing happens it is enough to look less often.
    wait = isNews ? least() : Math.min(SLOWEST, Math.max(least(), wait * 1.2));
    if (isOver) {
      bar.firstElementChild.hidden = button.hidden = true;
      said.textContent = "It is over: this page is as it will stay.";
    } else if (isNews) {
      said.textContent = `There was news at ${new Date().toLocaleTimeString()}.`;
    }
  };

  const look = async () => {
    looked = Date.now();
    const selection = getSelection();
    // Who has marked something is about to copy it.
    if (selection.isCollapsed || !page.contains(selection.anchorNode)) {
      try {
        const answer = await fetch(location.href, { cache: "no-store" });
        if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
        const text = await answer.text();
        if (!isPaused) take(new DOMParser().parseFromString(text, "text/html"));
      } catch (error) {
        wait = Math.min(SLOWEST, wait * 2);
        said.textContent = `This page could not be brought up to date: ${error.message}. It tries again.`;
      }
    }
    plan();
  };

  const show = () => {
    button.textContent = isPaused ? "Go on" : "Pause";
  };
  button.addEventListener("click", () => {
    isPaused = !isPaused;
    sessionStorage.setItem(PAUSED, isPaused ? "yes" : "no");
    show();
    plan();
  });
  document.addEventListener("visibilitychange", plan);
  show();
  bar.hidden = false;
  plan();
})();
