/* Draws each measure over nights with its limit; the figures are in the page, and in a table for those who see no chart. */
(() => {
  const write = (unit, value) => {
    if (unit === "odds") {
      return value < 6 ? `1 in ${Math.round(10 ** value).toLocaleString("en")}` : `1 in 10^${value.toFixed(0)}`;
    }
    return unit === "share" ? `${(100 * value).toFixed(1)} %` : `${Number(value.toFixed(3))}`;
  };
  for (const canvas of document.querySelectorAll("canvas[data-chart]")) {
    const { nights, lines } = JSON.parse(document.getElementById(canvas.dataset.chart).textContent);
    const unit = canvas.dataset.unit;
    new Chart(canvas, {
      type: "line",
      data: {
        labels: nights,
        datasets: lines.map(({ label, values, color, dash, stepped }) => ({
          label,
          data: values,
          borderColor: color,
          backgroundColor: color,
          borderDash: dash,
          borderWidth: 2,
          // A limit is a line whatever the nights; a single night's value is a point.
          pointRadius: stepped || nights.length > 60 ? 0 : 3,
          stepped,
          // Over nights without a value a line goes on; a limit that nobody recorded is none.
          spanGaps: !stepped,
          tension: 0,
        })),
      },
      options: {
        animation: false,
        maintainAspectRatio: false,
        interaction: { mode: "index", intersect: false },
        plugins: {
          legend: { position: "bottom", labels: { usePointStyle: true, pointStyle: "line" } },
          tooltip: { callbacks: { label: (item) => `${item.dataset.label}: ${write(unit, item.parsed.y)}` } },
        },
        scales: { x: { ticks: { maxTicksLimit: 6 } }, y: { ticks: { callback: (value) => write(unit, value) } } },
      },
    });
  }
})();
