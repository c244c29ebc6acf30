"""The firewall: rules that let VRRP in, and the shield that drops adverts of other speakers."""
