-- The planning table of the example's ERP system (PostgreSQL): one row for each hour of 2011.
-- The last two columns are empty until Fieldline fills them.
CREATE TABLE demand_forecast (
  day             integer NOT NULL CHECK (day BETWEEN 1 AND 366),  -- day of the year
  hr              integer NOT NULL CHECK (hr BETWEEN 0 AND 23),
  mnth            text NOT NULL,
  season          integer NOT NULL,        -- 1 winter, 2 spring, 3 summer, 4 autumn
  holiday         boolean NOT NULL,
  weekday         integer NOT NULL,        -- 0 is Sunday
  workingday      boolean NOT NULL,        -- neither weekend nor holiday
  weathersit      text NOT NULL,
  temp            numeric(5, 4) NOT NULL,  -- temperature, feeling temperature, humidity and wind, scaled to 0..1
  atemp           numeric(5, 4) NOT NULL,
  hum             numeric(5, 4) NOT NULL,
  windspeed       numeric(5, 4) NOT NULL,
  bikers          integer,                 -- what was counted afterwards; the model never reads it
  expected_bikers double precision,
  demand_level    text,
  PRIMARY KEY (day, hr)
);
