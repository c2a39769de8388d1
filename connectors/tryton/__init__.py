"""Tryton (ERP, CRM, inventory): quotes, orders, shipments, returns, goods, invoices, opportunities, parties."""
