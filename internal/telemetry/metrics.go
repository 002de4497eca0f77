package telemetry

import (
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the numbers of the process, in a registry of their own. A nil
// *Metrics counts nothing.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec // :: route, decision, code → requests
	duration prometheus.Histogram
	signIns  *prometheus.CounterVec // :: outcome → sign-ins
	refresh  *prometheus.CounterVec // :: outcome → refreshes
	reloadOK prometheus.Gauge
	reloadAt prometheus.Gauge
	codes    [600]string // :: status → label
}

// NewMetrics returns metrics with the process's own beside them.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portero_requests_total",
			Help: "Requests answered, by route, decision and status code.",
		}, []string{"route", "decision", "code"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "portero_request_duration_seconds",
			Help:    "Time from a request's head to the end of its answer, without upgraded connections.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portero_sign_ins_total",
			Help: "Sign-ins that came back from the provider, by outcome.",
		}, []string{"outcome"}),
		refresh: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portero_refreshes_total",
			Help: "Refreshes of sessions at the provider, by outcome.",
		}, []string{"outcome"}),
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "portero_config_last_reload_successful",
			Help: "Whether the last loading of the configuration succeeded.",
		}),
		reloadAt: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "portero_config_last_reload_success_timestamp_seconds",
			Help: "When the configuration was last loaded successfully.",
		}),
	}
	for status := range m.codes {
		m.codes[status] = codeLabel(status)
	}
	m.registry.MustRegister(m.requests, m.duration, m.signIns, m.refresh, m.reloadOK, m.reloadAt,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// codeLabel is the number of a status that has a name, else its class: an
// upstream answers what it likes, and may not make series with it.
func codeLabel(status int) string {
	if http.StatusText(status) != "" {
		return strconv.Itoa(status)
	}
	if status >= 100 && status < 600 {
		return strconv.Itoa(status/100) + "xx"
	}
	return "other"
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	if m == nil {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// BuildInfo says which program this is.
func (m *Metrics) BuildInfo(version, revision string) {
	if m == nil {
		return
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "portero_build_info",
		Help:        "Always 1; the labels say which program runs.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "goversion": runtime.Version()},
	})
	g.Set(1)
	m.registry.MustRegister(g)
}

// SignIn counts one sign-in; the outcome is one of our own words.
func (m *Metrics) SignIn(outcome string) {
	if m != nil {
		m.signIns.WithLabelValues(outcome).Inc()
	}
}

// Refresh counts one refresh; the outcome is one of our own words.
func (m *Metrics) Refresh(outcome string) {
	if m != nil {
		m.refresh.WithLabelValues(outcome).Inc()
	}
}

// Reloaded notes how a loading of the configuration ended, the first included.
func (m *Metrics) Reloaded(ok bool, at time.Time) {
	if m == nil {
		return
	}
	if !ok {
		m.reloadOK.Set(0)
		return
	}
	m.reloadOK.Set(1)
	m.reloadAt.Set(float64(at.UnixNano()) / 1e9)
}

// Sessions reports how many sessions there are, asked for at every scrape. The
// series is left out of a scrape in which the count is not known.
func (m *Metrics) Sessions(count func() (n int, known bool)) {
	m.gauge("portero_sessions", "Sessions that have not expired.", func() (float64, bool) {
		n, known := count()
		return float64(n), known
	})
}

// LiveConnections reports what is being served for sessions at this moment.
func (m *Metrics) LiveConnections(count func() int) {
	m.gauge("portero_live_connections", "Requests, streams and upgraded connections being served for a session.", func() (float64, bool) {
		return float64(count()), true
	})
}

// CertificateNotAfter reports when the certificate in use expires.
func (m *Metrics) CertificateNotAfter(at func() time.Time) {
	m.gauge("portero_certificate_not_after_timestamp_seconds", "When the certificate in use expires.", func() (float64, bool) {
		return float64(at().Unix()), true
	})
}

func (m *Metrics) gauge(name, help string, value func() (float64, bool)) {
	if m != nil {
		m.registry.MustRegister(&askedGauge{prometheus.NewDesc(name, help, nil, nil), value})
	}
}

// askedGauge asks for its value at every scrape and may have none.
type askedGauge struct {
	desc  *prometheus.Desc
	value func() (float64, bool)
}

func (g *askedGauge) Describe(ch chan<- *prometheus.Desc) { ch <- g.desc }

func (g *askedGauge) Collect(ch chan<- prometheus.Metric) {
	if v, known := g.value(); known {
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, v)
	}
}

func (m *Metrics) request(q *request, took time.Duration) {
	if m == nil {
		return
	}
	status, code := q.w.answered(), "other"
	if status >= 0 && status < len(m.codes) {
		code = m.codes[status]
	}
	m.requests.WithLabelValues(q.x.Route, q.x.Decision, code).Inc()
	if !q.w.hijacked {
		m.duration.Observe(took.Seconds())
	}
}
