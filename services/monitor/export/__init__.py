"""The definition as files for those who remember longer than the monitor: Prometheus, Alertmanager and Grafana."""
