"""Present a study to people: terminal, HTML report, dashboard and exports."""
