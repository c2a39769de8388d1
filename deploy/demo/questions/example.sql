-- A customer with a stock-out, a ticket and several survey answers: of these, the one with the fewest touchpoints.
SELECT customer_id
FROM touchline.touchpoints
WHERE connector = 'telecom'
GROUP BY customer_id
HAVING countIf(type = 'stock.out') > 0 AND countIf(type = 'ticket.opened') > 0 AND countIf(type = 'survey.answered') > 1
ORDER BY count(), customer_id
LIMIT 1
