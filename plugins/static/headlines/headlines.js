/* Draws the history of a metric; the figures are in the page, and in a table for those who see no chart. */
(() => {
  const source = document.getElementById("history-data");
  if (!source) return;
  const { nights, lines } = JSON.parse(source.textContent);
  new Chart(document.getElementById("history"), {
    type: "line",
    data: {
      labels: nights,
      datasets: lines.map(({ label, values, color, dash }) => ({
        label,
        data: values,
        borderColor: color,
        backgroundColor: color,
        borderDash: dash,
        borderWidth: 2,
        pointRadius: nights.length > 60 ? 0 : 3,
        spanGaps: true,
        tension: 0,
      })),
    },
    options: {
      animation: false,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      plugins: { legend: { position: "bottom", labels: { usePointStyle: true, pointStyle: "line" } } },
      scales: { x: { ticks: { maxTicksLimit: 12 } } },
    },
  });
})();
