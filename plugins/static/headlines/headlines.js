/* Draws charts over nights, and lets tables be sorted; without it their figures are in tables, in the order they came. */
(() => {
  const drawn = new WeakMap();
  const draw = (canvas) => {
    const text = canvas.nextElementSibling.textContent;
    if (drawn.get(canvas) === text) return;
    drawn.set(canvas, text);
    Chart.getChart(canvas)?.destroy();
    const { nights, lines, marks } = JSON.parse(text);
    const curves = lines.map(({ label, values, colour, dash }) => ({
      label,
      data: values,
      borderColor: colour,
      backgroundColor: colour,
      borderDash: dash,
      borderWidth: 2,
      pointStyle: "line",
      pointRadius: nights.length > 60 ? 0 : 3,
      spanGaps: true,
      tension: 0,
      order: 1,
    }));
    // A mark has a shape of its own, on the line and in the legend.
    const shapes = marks.map(({ label, style, values, colour }) => ({
      label,
      data: values,
      borderColor: colour,
      backgroundColor: colour,
      borderWidth: 2,
      pointStyle: style,
      pointRadius: nights.length > 400 ? 3 : 5,
      showLine: false,
      order: 0,
    }));
    new Chart(canvas, {
      type: "line",
      data: { labels: nights, datasets: [...curves, ...shapes] },
      options: {
        animation: false,
        maintainAspectRatio: false,
        interaction: { mode: "index", intersect: false },
        plugins: { legend: { position: "bottom", labels: { usePointStyle: true } } },
        scales: { x: { ticks: { maxTicksLimit: 12 } } },
      },
    });
  };
  const drawAll = () => document.querySelectorAll(".hl-chart canvas").forEach(draw);
  drawAll();
  // A page that keeps itself up to date has new figures.
  document.addEventListener("headlines:refresh", drawAll);

  const figure = (cell) => (/^[-+]?[\d.]+( |$)/.test(cell) ? parseFloat(cell) : NaN);
  /* What is no figure stands behind the figures, whichever way they go. */
  const compare = (a, b, way) => {
    const [x, y] = [figure(a), figure(b)];
    if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
    return (way === "ascending" ? 1 : -1) * (Number.isNaN(x) ? a.localeCompare(b) : x - y);
  };
  for (const table of document.querySelectorAll(".hl-sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    const text = (row, column) => row.cells[column].textContent.trim();
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const way = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", way);
        const body = table.tBodies[0];
        body.append(...[...body.rows].sort((a, b) => compare(text(a, column), text(b, column), way)));
      });
    });
  }
})();
